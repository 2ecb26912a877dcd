#pragma once

#include <ATen/ATen.h>

#include "core/graph/ops.h"

namespace torchvid {

/// A new CPU tensor filled as `spec.init` says; `fan_in_shape` is the shape of the layer's weight.
at::Tensor Initialise(const ParameterSpec& spec, const std::vector<int64_t>& fan_in_shape,
                      const at::Generator& generator);

}  // namespace torchvid
