#pragma once

#include <atomic>

#include "core/error.h"

namespace torchvid {

/// While it lives, ThrowIfCancelled on this thread watches `flag`.
class CancelScope {
 public:
  explicit CancelScope(const std::atomic<bool>* flag) : previous_(Current()) { Current() = flag; }
  ~CancelScope() { Current() = previous_; }
  CancelScope(const CancelScope&) = delete;
  CancelScope& operator=(const CancelScope&) = delete;

  static const std::atomic<bool>*& Current() {
    thread_local const std::atomic<bool>* flag = nullptr;
    return flag;
  }

 private:
  const std::atomic<bool>* previous_;
};

/// Called between operations, so that an abort need not wait for a whole step.
inline void ThrowIfCancelled() {
  const auto* flag = CancelScope::Current();
  if (flag != nullptr && flag->load(std::memory_order_relaxed)) throw Cancelled();
}

}  // namespace torchvid
