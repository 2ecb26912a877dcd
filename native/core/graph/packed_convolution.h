#pragma once

#include "core/graph/convolution.h"

namespace torchvid {

/// A convolution over clips (N, C, T, H, W), channels last, on the CPU: oneDNN's own, with what follows it in
/// the same pass. LibTorch's choice among its convolutions is another one, several times slower, for all but
/// the largest maps. Inference alone, single precision.
struct PackedConvolution {
  ConvolutionSettings settings;
  /// A second input of the output's shape is added.
  bool adds = false;
  bool relu = false;

  /// The weight in the order that oneDNN wants for inputs like `x`, and the bias, if there is one.
  TensorList Pack(const TensorList& weights, const at::Tensor& x) const;
  at::Tensor operator()(const TensorList& inputs, const TensorList& packed) const;
};

/// True where LibTorch was built with oneDNN and has it switched on.
bool HasPackedConvolution();

}  // namespace torchvid
