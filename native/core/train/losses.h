#pragma once

#include <ATen/ATen.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <string>
#include <utility>
#include <vector>

namespace torchvid {

struct Loss {
  at::Tensor total;  // scalar
  /// Its parts by name: scalars without gradients, on the device of `total`. Read late: reading one waits for
  /// the device.
  std::vector<std::pair<std::string, at::Tensor>> parts;
  /// Of a classification: the share of the batch whose class is right, a double scalar. May be undefined.
  at::Tensor accuracy;
};

/// While it lives, what is given in single precision is computed in it, also within a pass in bfloat16: as
/// losses are. (On CUDA, LibTorch even refuses a cross-entropy of probabilities there.)
class WithoutAutocast {
 private:
  c10::impl::ExcludeDispatchKeyGuard guard_{c10::autocast_dispatch_keyset};
};

enum class Reduction {
  /// Divided by the batch size only, as the OSVOS reference does.
  kSum,
  /// Divided by the number of elements.
  kMean,
};

/// Class-balanced cross-entropy on logits (OSVOS, equation 2): with y = [label >= 0.5], P = sum y, N = sum (1
/// - y), T = P + N: L = (N / T) sum_{y = 1} bce + (P / T) sum_{y = 0} bce. Both tensors (N, 1, H, W). A
/// scalar.
at::Tensor ClassBalancedCrossEntropy(const at::Tensor& logits, const at::Tensor& labels, Reduction reduction);

/// How many rows of `logits` (N, classes) are largest at their label, of equal ones the first: an int64
/// scalar on the device of `logits`.
at::Tensor CorrectClasses(const at::Tensor& logits, const at::Tensor& labels);

}  // namespace torchvid
