#include "core/train/late_values.h"

#include <ATen/ATen.h>
#include <c10/core/impl/VirtualGuardImpl.h>

namespace torchvid {

void LateValues::Send(const at::Tensor& row) {
  if (rows_.size() >= kAhead) {
    if (const auto& copied = rows_[rows_.size() - kAhead].copied) copied->synchronize();
  }
  if (!device_.is_cuda()) {
    rows_.push_back({row.clone(), std::nullopt});
    return;
  }
  auto host = at::empty(row.sizes(), at::TensorOptions().dtype(row.scalar_type()).pinned_memory(true));
  host.copy_(row, /*non_blocking=*/true);
  c10::Event copied(device_.type());
  copied.record(c10::impl::VirtualGuardImpl(device_.type()).getStream(device_));
  rows_.push_back({std::move(host), std::move(copied)});
}

bool LateValues::Arrived(bool wait) const {
  if (rows_.empty()) return false;
  const auto& copied = rows_.front().copied;
  if (!copied) return true;
  if (wait) copied->synchronize();
  return wait || copied->query();
}

std::vector<double> LateValues::Take() {
  const auto host = std::move(rows_.front().host);
  rows_.pop_front();
  const auto* numbers = host.const_data_ptr<double>();
  return {numbers, numbers + host.numel()};
}

}  // namespace torchvid
