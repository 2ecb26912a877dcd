#pragma once

#include <ATen/ATen.h>

namespace torchvid {

/// Like `x`, each number 1 / keep with probability `keep`, else 0. On the CPU all of it follows from one
/// number drawn from `generator`, whatever the threads; LibTorch's own draws one by one. `generator` is one
/// of the device of `x`.
at::Tensor DropoutMask(const at::Tensor& x, double keep, const at::Generator& generator);

}  // namespace torchvid
