#pragma once

#include "core/graph/ops.h"

namespace torchvid {

/// What batch-norm with fixed statistics, the selection behind it and ReLU come to: per channel of the
/// output, which channel it takes, its factor and its summand.
struct Normalisation {
  at::Tensor scale;  // (out)
  at::Tensor shift;  // (out)
  at::Tensor index;  // (out), int64; undefined: every channel in order
  bool relu = false;
};

/// max(x[:, index] * scale + shift, 0) in one pass over memory; x (N, C, ...). Inference alone.
at::Tensor Normalise(const at::Tensor& x, const Normalisation& normalisation);

}  // namespace torchvid
