#include "core/train/feed.h"

#include <algorithm>
#include <string>

#include "core/error.h"

namespace torchvid {

namespace {

/// So long a step may wait; then other jobs have their turn.
constexpr auto kPatience = std::chrono::milliseconds(10);

}  // namespace

void Feed::Supply(int64_t pass, MakeBatch sample) {
  {
    std::lock_guard lock(mutex_);
    if (closed_ || failure_) return;
    if (pass >= asked_)
      throw InvalidArgument("supply: the sample of pass " + std::to_string(pass) + " was not asked for.");
    if (pass < taken_ || samples_.count(pass) > 0)
      throw InvalidArgument("supply: pass " + std::to_string(pass) + " has its sample already.");
    samples_[pass] = std::move(sample);
  }
  changed_.notify_all();
}

void Feed::Fail(std::exception_ptr error) {
  {
    std::lock_guard lock(mutex_);
    if (closed_ || failure_) return;
    failure_ = std::move(error);
    samples_.clear();
  }
  changed_.notify_all();
}

void Feed::Close() {
  std::lock_guard lock(mutex_);
  closed_ = true;
  samples_.clear();
}

void Feed::Want(int64_t pass, int64_t end) {
  int64_t first = 0;
  int64_t last = 0;
  {
    std::lock_guard lock(mutex_);
    if (asked_ < 0) asked_ = taken_ = pass;
    first = asked_;
    last = std::max(first, std::min(pass + ahead_ + 1, end));
    asked_ = last;
  }
  if (last > first && listener_) listener_(first, last);
}

bool Feed::Wait(int64_t pass, std::chrono::milliseconds limit) {
  std::unique_lock lock(mutex_);
  const bool over = changed_.wait_for(lock, limit, [&] { return failure_ || samples_.count(pass) > 0; });
  if (failure_) std::rethrow_exception(failure_);
  return over;
}

MakeBatch Feed::Take(int64_t pass) {
  std::lock_guard lock(mutex_);
  auto sample = std::move(samples_.at(pass));
  samples_.erase(pass);
  taken_ = pass + 1;
  return sample;
}

bool FeedSource::Ready(int64_t pass, int64_t end) {
  feed_->Want(pass, end);
  return feed_->Wait(pass, kPatience);
}

Batch FeedSource::Next(int64_t pass, const at::Generator& generator) {
  return feed_->Take(pass)(generator, device_);
}

}  // namespace torchvid
