#pragma once

#include <ATen/ATen.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace torchvid {

struct Loss {
  at::Tensor total;  // scalar
  /// Its parts by name.
  std::vector<std::pair<std::string, double>> parts;
  /// Of a classification: the share of the batch whose class is right.
  std::optional<double> accuracy;
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

/// How many rows of `logits` (N, classes) are largest at their label; of equal ones the first counts.
int64_t CorrectClasses(const at::Tensor& logits, const at::Tensor& labels);

}  // namespace torchvid
