#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>

namespace torchvid {

/// A piece of work for the engine: a series of steps.
class Job {
 public:
  virtual ~Job() = default;
  /// One step, on the engine thread; true while more remain. What it throws ends the job.
  virtual bool Step() = 0;
  /// Called once on the engine thread when the job is over: done (null), failed or cancelled (`Cancelled`).
  /// The job's resources should be let go of here.
  virtual void Finish(std::exception_ptr error) = 0;

  void Cancel() { cancelled_ = true; }
  const std::atomic<bool>& cancelled() const { return cancelled_; }
  /// Whoever submitted it: jobs of one owner can be ended together.
  const void* owner = nullptr;

 private:
  std::atomic<bool> cancelled_{false};
};

/// The one thread that does all LibTorch work. Jobs take turns step by step, so a short one is not stuck
/// behind a long one. Shared by all Node environments (workers) of the process; ends with the last of them.
class Engine {
 public:
  /// The engine, started if need be. It lives as long as someone holds it.
  static std::shared_ptr<Engine> Get();
  ~Engine();

  void Submit(std::shared_ptr<Job> job);
  /// Cancels all jobs of `owner` and waits until none is left.
  void CancelOwned(const void* owner);

 private:
  Engine();
  void Loop();
  void RunTurn(const std::shared_ptr<Job>& job);

  std::mutex mutex_;
  std::condition_variable work_;
  std::condition_variable idle_;
  std::deque<std::shared_ptr<Job>> jobs_;
  std::shared_ptr<Job> current_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace torchvid
