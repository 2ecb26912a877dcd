#pragma once

#include <ATen/ATen.h>

#include <optional>

namespace torchvid {

/// Whether maps over time (N, C, T) lie channels last: a row of C numbers for each moment.
bool LiesByTime(const at::Tensor& x);

/// The same numbers, so laid.
at::Tensor ByTime(const at::Tensor& x);

/// A convolution over time of maps that lie by time, on the CPU in single precision: stride 1, one group,
/// zeros as padding. One matrix product makes what every tap contributes at every moment, which is then added
/// up at the right places: no input is copied, and both products of the backward pass are as large.
/// Differentiable.
at::Tensor ConvolveByTime(const at::Tensor& x, const at::Tensor& weight,
                          const std::optional<at::Tensor>& bias, int64_t padding, int64_t dilation);

}  // namespace torchvid
