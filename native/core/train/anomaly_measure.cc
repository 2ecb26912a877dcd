#include "core/train/anomaly_measure.h"

#include <algorithm>

#include "core/device/device.h"
#include "core/error.h"

namespace torchvid {

namespace {

/// Rows (segments of a crop) that are run at a time: bounds the memory of maps.
constexpr int64_t kRows = 8192;

}  // namespace

at::Tensor ScoreVideo(Network& network, const at::Tensor& features) {
  const auto crops = features.size(1);
  const auto some = std::clamp<int64_t>(kRows / features.size(2), 1, crops);
  at::Tensor sum;
  for (int64_t first = 0; first < crops; first += some) {
    const auto count = std::min(some, crops - first);
    const auto part = features.narrow(1, first, count);
    const auto scores =
        network.Forward({{"features", part}}, {"scores"}, {}).at("scores") * static_cast<double>(count);
    sum = sum.defined() ? sum + scores : scores;
  }
  return (sum / static_cast<double>(crops)).squeeze(0);
}

at::Tensor AnomalyMeasure::ScoresOf(Network& network, const MeasuredVideo& video) {
  const auto index = scores_.size();
  if (index == resident_.size()) {
    auto features = ReadFeatures(video.features);
    if (settings_.normalise) features = NormaliseRows(features);
    resident_.push_back(OnDevice(features.permute({1, 0, 2}).unsqueeze(0).contiguous(), network.device()));
  }
  const auto scores = ScoreVideo(network, resident_[index]).cpu();
  if (!scores.isfinite().all().item<bool>())
    throw Error("ERR_NOT_FINITE",
                "Measured on " + video.features.name +
                    ", the network's scores are no numbers any more. Lower the learning rate.");
  if (settings_.frames_per_segment > 0) return scores.repeat_interleave(settings_.frames_per_segment);
  const auto top = std::min(settings_.top, scores.size(0));
  return std::get<0>(scores.topk(top)).mean().unsqueeze(0);
}

std::optional<double> AnomalyMeasure::Step(Network& network) {
  const auto& video = settings_.videos[scores_.size()];
  auto scores = ScoresOf(network, video);
  scores_.push_back(std::move(scores));
  labels_.push_back(video.labels);
  if (scores_.size() < settings_.videos.size()) return std::nullopt;
  const double value = settings_.metric(at::cat(scores_), at::cat(labels_));
  scores_.clear();
  labels_.clear();
  return value;
}

}  // namespace torchvid
