#pragma once

#include "core/graph/ops.h"

namespace torchvid {

// Layers without parameters that reorder, fold or reduce dimensions.

/// permute(x): dimension i of the output is dimension `order`[i] of the input.
Kernel BindPermute(AttributeReader& attributes);
/// mergeBatch(x): (A, B, ...) -> (A * B, ...).
Kernel BindMergeBatch(AttributeReader& attributes);
/// splitBatch(x, like): (A * B, ...) -> (A, B, ...), A and B the first two sizes of `like`.
Kernel BindSplitBatch(AttributeReader& attributes);
/// mean(x): over `dimension`, which goes.
Kernel BindMean(AttributeReader& attributes);
/// norm(x): the L2 norm over `dimension`, which goes.
Kernel BindNorm(AttributeReader& attributes);
/// normalise(x): divided by its L2 norm over `dimension`; zeros stay zeros.
Kernel BindNormalise(AttributeReader& attributes);
/// flatten(x): dimensions from `start` on become one.
Kernel BindFlatten(AttributeReader& attributes);

}  // namespace torchvid
