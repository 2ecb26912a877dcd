#pragma once

#include <ATen/ATen.h>

namespace torchvid {

// How well scores (N) rank labels (N; positive where not 0). Equal scores count as one threshold. Computed in
// double precision. Each throws ERR_SHAPE when sizes differ, ERR_INVALID_ARGUMENT when a score is no number
// or there is but one kind of label.

/// Area under the ROC curve: the chance that a positive scores higher than a negative, a tie counting half.
double RocAuc(const at::Tensor& scores, const at::Tensor& labels);

/// Area under the precision-recall curve by trapezoids, from (recall 0, precision 1) on; it overrates, but it
/// is what RTFM's reference prints.
double PrAuc(const at::Tensor& scores, const at::Tensor& labels);

/// Average precision: the sum over thresholds of (step in recall) * precision; no interpolation.
double AveragePrecision(const at::Tensor& scores, const at::Tensor& labels);

}  // namespace torchvid
