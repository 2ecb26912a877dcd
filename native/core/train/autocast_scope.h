#pragma once

#include <ATen/autocast_mode.h>

namespace torchvid {

/// Runs convolutions and products in bfloat16 while it lives, if `enabled`. On CUDA without keeping the
/// weights' bfloat16 copies: one that was made while a pass is recorded would be read when it is not there.
class AutocastScope {
 public:
  AutocastScope(bool enabled, at::DeviceType device)
      : enabled_(enabled), device_(device), kept_(at::autocast::is_autocast_cache_enabled()) {
    if (!enabled_) return;
    at::autocast::set_autocast_enabled(device_, true);
    at::autocast::set_autocast_dtype(device_, at::kBFloat16);
    if (device_ == at::kCUDA) at::autocast::set_autocast_cache_enabled(false);
    at::autocast::increment_nesting();
  }
  ~AutocastScope() {
    if (!enabled_) return;
    if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(device_, false);
    at::autocast::set_autocast_cache_enabled(kept_);
  }
  AutocastScope(const AutocastScope&) = delete;
  AutocastScope& operator=(const AutocastScope&) = delete;

 private:
  bool enabled_;
  at::DeviceType device_;
  bool kept_;
};

}  // namespace torchvid
