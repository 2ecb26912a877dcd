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

/// TensorFlow's SAME padding of an input (N, C, ...): enough zeros for ceil(size / stride) outputs, the odd
/// one at the end. As constant_pad_nd takes them: the last dimension first, before and after.
std::vector<int64_t> SamePads(const at::Tensor& x, const std::vector<int64_t>& kernel,
                              const std::vector<int64_t>& stride, const std::vector<int64_t>& dilation);

/// SAME padding before a convolution. What is the same on both sides is left to the convolution, as
/// `symmetric`; only what is not is padded here.
at::Tensor PadSame(const at::Tensor& x, const std::vector<int64_t>& kernel, const Convolution& convolution,
                   std::vector<int64_t>* symmetric);

/// A conv layer's settings. `same`: its padding follows from the input's size, see PadSame.
struct ConvolutionSettings {
  Convolution convolution;
  std::vector<int64_t> kernel;
  bool same = false;
};
ConvolutionSettings ReadConvolution(AttributeReader& attributes);

}  // namespace torchvid
