#include "core/metrics/ranking.h"

#include <vector>

#include "core/error.h"

namespace torchvid {

namespace {

/// How many positives and negatives have at least a score, for each distinct score from the highest down.
struct Threshold {
  double positives;
  double negatives;
};

std::vector<Threshold> Thresholds(const at::Tensor& scores, const at::Tensor& labels) {
  if (scores.dim() != 1 || labels.dim() != 1 || scores.size(0) != labels.size(0)) {
    throw ShapeError("There are " + std::to_string(scores.numel()) + " scores and " +
                     std::to_string(labels.numel()) + " labels; wanted one label per score.");
  }
  const auto values = scores.to(at::kDouble);
  if (values.isfinite().logical_not().any().item<bool>())
    throw InvalidArgument("scores: some are no finite numbers.");
  const auto [sorted, order] = values.sort(/*stable=*/true, 0, /*descending=*/true);
  const auto positive = labels.ne(0).index_select(0, order);
  const auto* value = sorted.const_data_ptr<double>();
  const auto* is_positive = positive.const_data_ptr<bool>();
  std::vector<Threshold> thresholds;
  Threshold seen{0, 0};
  for (int64_t i = 0; i < sorted.size(0); ++i) {
    (is_positive[i] ? seen.positives : seen.negatives) += 1;
    if (i + 1 == sorted.size(0) || value[i + 1] != value[i]) thresholds.push_back(seen);
  }
  if (seen.positives == 0 || seen.negatives == 0) {
    throw InvalidArgument(std::string("labels: all are ") + (seen.negatives == 0 ? "positive" : "negative") +
                          "; a ranking can be measured only where there are both kinds.");
  }
  return thresholds;
}

/// Sums `area(before, now)` from one threshold to the next.
template <typename Area>
double Integrate(const std::vector<Threshold>& thresholds, Area area) {
  double sum = 0;
  Threshold before{0, 0};
  for (const auto& now : thresholds) {
    sum += area(before, now);
    before = now;
  }
  return sum;
}

/// Of those at or above a threshold, the share that is positive; 1 where there are none.
double Precision(const Threshold& at) {
  const double all = at.positives + at.negatives;
  return all > 0 ? at.positives / all : 1;
}

}  // namespace

double RocAuc(const at::Tensor& scores, const at::Tensor& labels) {
  const auto thresholds = Thresholds(scores, labels);
  const auto& all = thresholds.back();
  // Whole numbers up to here: exact.
  const double twice = Integrate(thresholds, [](const Threshold& a, const Threshold& b) {
    return (b.negatives - a.negatives) * (a.positives + b.positives);
  });
  return twice / 2 / all.positives / all.negatives;
}

double PrAuc(const at::Tensor& scores, const at::Tensor& labels) {
  const auto thresholds = Thresholds(scores, labels);
  const double positives = thresholds.back().positives;
  return Integrate(thresholds, [&](const Threshold& a, const Threshold& b) {
    return (b.positives - a.positives) / positives * (Precision(a) + Precision(b)) / 2;
  });
}

double AveragePrecision(const at::Tensor& scores, const at::Tensor& labels) {
  const auto thresholds = Thresholds(scores, labels);
  const double positives = thresholds.back().positives;
  return Integrate(thresholds, [&](const Threshold& a, const Threshold& b) {
    return (b.positives - a.positives) / positives * Precision(b);
  });
}

}  // namespace torchvid
