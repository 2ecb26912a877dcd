#pragma once

#include "core/graph/ops.h"

namespace torchvid {

/// Windows of 1 to 3 dimensions over (N, C, ...).
Kernel BindMaxPool(AttributeReader& attributes);
Kernel BindAveragePool(AttributeReader& attributes);
/// (N, C, ...) -> (N, C): the mean over every other dimension.
Kernel BindGlobalAveragePool(AttributeReader& attributes);

}  // namespace torchvid
