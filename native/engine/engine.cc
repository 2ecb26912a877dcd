#include "engine/engine.h"

#include <algorithm>
#include <chrono>

#include "core/cancel.h"
#include "core/device/device.h"
#include "core/memory/caching_allocator.h"
#include "engine/profile.h"

namespace torchvid {

namespace {

/// After so long without work, memory kept for reuse goes back to the system.
constexpr auto kIdle = std::chrono::seconds(2);

}  // namespace

std::shared_ptr<Engine> Engine::Get() {
  static std::mutex mutex;
  static std::weak_ptr<Engine> running;
  std::lock_guard lock(mutex);
  auto engine = running.lock();
  if (!engine) {
    engine.reset(new Engine());
    running = engine;
  }
  return engine;
}

Engine::Engine() : thread_([this] { Loop(); }) {}

Engine::~Engine() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    for (const auto& job : jobs_) job->Cancel();
    if (current_) current_->Cancel();
  }
  work_.notify_all();
  thread_.join();
}

void Engine::Submit(std::shared_ptr<Job> job) {
  {
    std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
  }
  work_.notify_all();
}

void Engine::CancelOwned(const void* owner) {
  std::unique_lock lock(mutex_);
  const auto owned = [&](const std::shared_ptr<Job>& job) { return job && job->owner == owner; };
  for (const auto& job : jobs_) {
    if (owned(job)) job->Cancel();
  }
  if (owned(current_)) current_->Cancel();
  idle_.wait(lock, [&] { return !owned(current_) && std::none_of(jobs_.begin(), jobs_.end(), owned); });
}

void Engine::Loop() {
  const Profile profile;
  std::unique_lock lock(mutex_);
  while (true) {
    const auto due = [&] { return stopping_ || !jobs_.empty(); };
    if (!work_.wait_for(lock, kIdle, due)) {
      lock.unlock();
      ReleaseCachedMemory();
      lock.lock();
      work_.wait(lock, due);
    }
    if (jobs_.empty()) return;
    current_ = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    RunTurn(current_);
    lock.lock();
    current_.reset();
    idle_.notify_all();
  }
}

/// One step of one job; back into the queue if more remain, else its end.
void Engine::RunTurn(const std::shared_ptr<Job>& job) {
  std::exception_ptr error;
  bool more = false;
  try {
    CancelScope scope(&job->cancelled());
    ThrowIfCancelled();
    more = job->Step();
  } catch (...) {
    error = job->cancelled() ? std::make_exception_ptr(Cancelled()) : std::current_exception();
  }
  if (more) {
    std::lock_guard lock(mutex_);
    jobs_.push_back(job);
  } else {
    job->Finish(error);
    // After the job has let go of its tensors: memory that was short is there for the next one.
    if (error) ReleaseDeviceMemory();
  }
}

}  // namespace torchvid
