#pragma once

#include <ATen/core/Tensor.h>

namespace torchvid {

/// The layout with channels last of a tensor of that many dimensions: of pictures, clips and the weights of
/// their convolutions; the plain one for all else.
inline at::MemoryFormat ChannelsLastOf(const at::Tensor& tensor) {
  if (tensor.dim() == 4) return at::MemoryFormat::ChannelsLast;
  return tensor.dim() == 5 ? at::MemoryFormat::ChannelsLast3d : at::MemoryFormat::Contiguous;
}

}  // namespace torchvid
