#pragma once

#include "core/train/losses.h"

namespace torchvid {

/// What RTFM's network makes of some videos.
struct RtfmOutputs {
  at::Tensor scores;      // (videos, T), 0 to 1
  at::Tensor magnitudes;  // (videos, T)
  at::Tensor features;    // (videos, crops, T, F)
};

struct RtfmLossSettings {
  /// As the reference code computes it, or as the paper writes it.
  bool paper = false;
  /// Segments of a video that count: those of largest magnitude; 0: a tenth of them, at least one.
  int64_t top = 0;
  /// Of a dropout on the magnitudes before the choice (reference only), drawn from `generator`.
  double dropout = 0;
  double margin = 100;
  double magnitude = 1e-4;
  double smoothness = 8e-4;
  double sparsity = 8e-3;
};

/// RTFM (Tian et al., ICCV 2021). Parts, weighted, of which the total is the sum: bce, magnitude, smooth,
/// sparse.
///
/// Reference: cross-entropy of the mean of the top scores; magnitude * mean over (crop, pair) of (|margin -
/// |a|| + |n|)^2, a and n the means of the top features of an abnormal and a normal video; the squared steps
/// of all abnormal scores laid end to end, summed; their L2 norm. As many abnormal videos as normal ones.
/// Paper: cross-entropy summed over the top segments; hinge max(0, margin - (g(a) - g(n))) on the mean top
/// magnitudes g, meaned over all pairs and not weighted (its equation has no factor); steps within a video
/// and the sum of scores, meaned over abnormal videos.
Loss RtfmLoss(const RtfmOutputs& abnormal, const RtfmOutputs& normal, const RtfmLossSettings& settings,
              const at::Generator& generator);

struct MilRankingSettings {
  double smoothness = 8e-5;
  double sparsity = 8e-5;
};

/// Sultani et al., CVPR 2018, equation 6 as their code batches it: the mean over normal videos j of the sum
/// over abnormal videos i of max(0, 1 - max s_i + max s_j), the squared steps within each abnormal video and
/// its scores, both summed. Scores (videos, segments). Parts, weighted: hinge, smooth, sparse.
Loss MilRankingLoss(const at::Tensor& abnormal, const at::Tensor& normal, const MilRankingSettings& settings);

}  // namespace torchvid
