#pragma once

#include "core/graph/ops.h"

namespace torchvid {

/// To a scale, or to the second input's size; bilinear or nearest.
Kernel BindUpsample(AttributeReader& attributes);

}  // namespace torchvid
