#include "core/train/anomaly_losses.h"

#include <algorithm>

#include "core/error.h"
#include "core/graph/dropout.h"

namespace torchvid {

namespace {

Loss Sum(const std::vector<std::pair<std::string, at::Tensor>>& parts) {
  Loss loss;
  for (const auto& [name, part] : parts) {
    loss.total = loss.total.defined() ? loss.total + part : part;
    loss.parts.emplace_back(name, part.detach());
  }
  return loss;
}

/// Cross-entropy of scores in [0, 1]. A NaN makes it NaN: LibTorch's own refuses one, and on a GPU its
/// refusal would end all use of the device in this process.
at::Tensor CrossEntropy(const at::Tensor& scores, const at::Tensor& labels) {
  return at::binary_cross_entropy(scores.nan_to_num(0.5), labels) + scores.detach().sum() * 0;
}

at::Tensor SquaredSteps(const at::Tensor& scores) {
  const auto count = scores.size(-1) - 1;
  return (scores.narrow(-1, 1, count) - scores.narrow(-1, 0, count)).square().sum();
}

/// The segments of largest magnitude (videos, k), after a dropout on the magnitudes.
at::Tensor TopSegments(const at::Tensor& magnitudes, const RtfmLossSettings& settings, int64_t top,
                       const at::Generator& generator) {
  auto x = magnitudes.detach();
  if (settings.dropout > 0 && !settings.paper) {
    x = x * DropoutMask(x, 1 - settings.dropout, generator);
  }
  return std::get<1>(at::topk(x, top, 1));
}

/// The features of those segments, meaned over them: (videos, crops, F).
at::Tensor MeanFeatures(const at::Tensor& features, const at::Tensor& segments) {
  const auto index = segments.unsqueeze(1).unsqueeze(3).expand(
      {features.size(0), features.size(1), segments.size(1), features.size(3)});
  return features.gather(2, index).mean(2);
}

/// The number of segments that count.
int64_t TopOf(const RtfmLossSettings& settings, int64_t segments) {
  if (settings.top > segments)
    throw ShapeError("top: got " + std::to_string(settings.top) + " of " + std::to_string(segments) +
                     " segments.");
  return settings.top > 0 ? settings.top : std::max<int64_t>(segments / 10, 1);
}

Loss ReferenceLoss(const RtfmOutputs& abnormal, const RtfmOutputs& normal, const RtfmLossSettings& settings,
                   const at::Generator& generator) {
  const auto top = TopOf(settings, abnormal.scores.size(1));
  // Drawn apart, abnormal first, as the reference does.
  const auto of_abnormal = TopSegments(abnormal.magnitudes, settings, top, generator);
  const auto of_normal = TopSegments(normal.magnitudes, settings, top, generator);
  const auto video_scores = at::cat({normal.scores.gather(1, of_normal).mean(1),  //
                                     abnormal.scores.gather(1, of_abnormal).mean(1)});
  auto labels = at::zeros_like(video_scores);
  labels.narrow(0, normal.scores.size(0), abnormal.scores.size(0)).fill_(1);
  const auto far = (settings.margin - MeanFeatures(abnormal.features, of_abnormal).norm(2, 2)).abs();
  const auto near = MeanFeatures(normal.features, of_normal).norm(2, 2);
  const auto flat = abnormal.scores.flatten();
  return Sum({{"bce", CrossEntropy(video_scores, labels)},
              {"magnitude", (far + near).square().mean() * settings.magnitude},
              {"smooth", SquaredSteps(flat) * settings.smoothness},
              {"sparse", flat.norm() * settings.sparsity}});
}

Loss PaperLoss(const RtfmOutputs& abnormal, const RtfmOutputs& normal, const RtfmLossSettings& settings,
               const at::Generator& generator) {
  const auto top = TopOf(settings, abnormal.scores.size(1));
  const auto of_abnormal = TopSegments(abnormal.magnitudes, settings, top, generator);
  const auto of_normal = TopSegments(normal.magnitudes, settings, top, generator);
  const auto scores = at::cat({normal.scores.gather(1, of_normal), abnormal.scores.gather(1, of_abnormal)});
  auto labels = at::zeros_like(scores);
  labels.narrow(0, normal.scores.size(0), abnormal.scores.size(0)).fill_(1);
  const auto videos = static_cast<double>(abnormal.scores.size(0));
  const auto far = abnormal.magnitudes.gather(1, of_abnormal).mean(1);
  const auto near = normal.magnitudes.gather(1, of_normal).mean(1);
  const auto hinge = (settings.margin - (far.unsqueeze(1) - near.unsqueeze(0))).clamp_min(0).mean();
  return Sum({{"bce", CrossEntropy(scores, labels) * static_cast<double>(top)},
              {"magnitude", hinge},
              {"smooth", SquaredSteps(abnormal.scores) * (settings.smoothness / videos)},
              {"sparse", abnormal.scores.sum() * (settings.sparsity / videos)}});
}

}  // namespace

Loss RtfmLoss(const RtfmOutputs& abnormal, const RtfmOutputs& normal, const RtfmLossSettings& settings,
              const at::Generator& generator) {
  const WithoutAutocast exactly;
  return settings.paper ? PaperLoss(abnormal, normal, settings, generator)
                        : ReferenceLoss(abnormal, normal, settings, generator);
}

Loss MilRankingLoss(const at::Tensor& abnormal, const at::Tensor& normal,
                    const MilRankingSettings& settings) {
  const WithoutAutocast exactly;
  const auto of_abnormal = abnormal.amax(1).unsqueeze(1);
  const auto of_normal = normal.amax(1).unsqueeze(0);
  const auto hinge = (1 - of_abnormal + of_normal).clamp_min(0).sum() / static_cast<double>(normal.size(0));
  return Sum({{"hinge", hinge},
              {"smooth", SquaredSteps(abnormal) * settings.smoothness},
              {"sparse", abnormal.sum() * settings.sparsity}});
}

}  // namespace torchvid
