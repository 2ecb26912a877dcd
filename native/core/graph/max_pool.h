#pragma once

#include <ATen/ATen.h>

#include <vector>

namespace torchvid {

/// Windows of a pool, per dimension of (N, C, ...).
struct PoolWindows {
  std::vector<int64_t> kernel, stride, padding;
  bool ceil = false;
};

/// The pooled shape of (N, C, ...), or ERR_SHAPE. `pads`: what is added to the input besides `padding`, as
/// constant_pad_nd takes it.
std::vector<int64_t> PooledShape(const at::Tensor& x, const PoolWindows& windows,
                                 const std::vector<int64_t>& pads);

/// True for clips (N, C, T, H, W) of single-precision numbers on the CPU, channels last, of which no gradient
/// is wanted: LibTorch keeps every maximum's place, too, and takes several times as long.
bool CanMaxPoolClip(const at::Tensor& x, const PoolWindows& windows);

/// The maximum over windows. `zeros`: beside the padding, which is never picked, so many zeros, which are; as
/// constant_pad_nd takes them.
at::Tensor MaxPoolClip(const at::Tensor& x, const PoolWindows& windows, const std::vector<int64_t>& zeros);

}  // namespace torchvid
