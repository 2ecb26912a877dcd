#pragma once

#include <vector>

#include "core/train/selection.h"
#include "core/train/video_features.h"

namespace torchvid {

/// A video to measure a detector on.
struct MeasuredVideo {
  VideoFeatures features;
  /// One label per frame, `frames_per_segment` for each segment; or one for the whole video.
  at::Tensor labels;
};

struct AnomalyMeasureSettings {
  std::vector<MeasuredVideo> videos;
  double (*metric)(const at::Tensor& scores, const at::Tensor& labels) = nullptr;
  /// 0: a video has one label and one score, the mean of its `top` highest.
  int64_t frames_per_segment = 16;
  int64_t top = 3;
  /// Each row divided by its L2 norm first.
  bool normalise = false;
};

/// How well a detector's scores rank frames, or whole videos. One step is one video; features are read once
/// and stay in memory.
class AnomalyMeasure : public Measure {
 public:
  explicit AnomalyMeasure(AnomalyMeasureSettings settings) : settings_(std::move(settings)) {}
  std::optional<double> Step(Network& network) override;

 private:
  at::Tensor ScoresOf(Network& network, const MeasuredVideo& video);

  AnomalyMeasureSettings settings_;
  TensorList resident_;  // (1, crops, T, F), as far as videos were read
  TensorList scores_;
  TensorList labels_;
};

/// The scores (T) of a video (1, crops, T, F): output `scores` of a network whose scores are means over
/// crops. Long videos are run a few crops at a time.
at::Tensor ScoreVideo(Network& network, const at::Tensor& features);

}  // namespace torchvid
