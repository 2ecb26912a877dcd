#pragma once

#include <string>
#include <vector>

#include "core/train/source.h"
#include "core/train/streams.h"
#include "core/train/video_features.h"

namespace torchvid {

struct BagSourceSettings {
  std::vector<VideoFeatures> normal;
  std::vector<VideoFeatures> abnormal;
  /// Videos of each kind in a batch, or all where there are fewer.
  int64_t batch_size = 32;
  /// As many of one kind as of the other in a batch.
  bool paired = true;
  /// Each kind in a new order in each of its epochs; else in the order given.
  bool shuffle = true;
  /// What every video is resampled to, and how; rows may then be divided by their L2 norm.
  int64_t segments = 32;
  Resampling resampling = Resampling::kLinspace;
  bool normalise = false;
  uint64_t seed = 0;
};

/// Bags of normal and of abnormal videos (multiple-instance learning). Every video is read and resampled once
/// and stays on the device; a pass touches no file. Each kind has epochs of its own, of as many whole batches
/// as it has videos for; the order in each follows from the seed alone. Batches have input `features`
/// (videos, crops, segments, F), normal videos first, and 0 or 1 per video as target.
class BagSource : public Source {
 public:
  BagSource(BagSourceSettings settings, at::Device device);
  /// Reads one video.
  bool Prepare() override;
  Batch Next(int64_t pass, const at::Generator& generator) override;

 private:
  /// The videos of one kind.
  struct Bags {
    Stream stream;
    at::Tensor resident;  // (videos, crops, segments, F)
    int64_t batch = 0;    // videos taken in a pass
    int64_t epoch = -1;
    at::Tensor order;
  };
  void Load(Bags* bags, const std::vector<VideoFeatures>& videos, size_t index);
  at::Tensor Take(Bags* bags, int64_t pass) const;

  BagSourceSettings settings_;
  at::Device device_;
  Bags normal_{Stream::kNormalOrder, {}, 0, -1, {}};
  Bags abnormal_{Stream::kAbnormalOrder, {}, 0, -1, {}};
  size_t loaded_ = 0;
};

}  // namespace torchvid
