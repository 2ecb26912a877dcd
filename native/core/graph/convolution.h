#pragma once

#include "core/graph/ops.h"

namespace torchvid {

/// The second of a layer's weights, if it has one.
std::optional<at::Tensor> BiasOf(const TensorList& weights);

/// A convolution over any number of dimensions, plain or transposed.
struct Convolution {
  std::vector<int64_t> stride, padding, dilation, output_padding;
  bool transposed = false;
  int64_t groups = 1;

  /// On meta tensors gives the output's shape, or ERR_SHAPE. `pad` stands in for `padding`.
  at::Tensor operator()(const at::Tensor& x, const TensorList& weights,
                        const std::vector<int64_t>& pad) const;
};

/// TensorFlow's SAME padding: enough zeros for ceil(size / stride) outputs, the odd one at the end. What is
/// the same on both sides is left to the convolution, as `symmetric`; only what is not is padded here.
at::Tensor PadSame(const at::Tensor& x, const std::vector<int64_t>& kernel, const Convolution& convolution,
                   std::vector<int64_t>* symmetric);

}  // namespace torchvid
