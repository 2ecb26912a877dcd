#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/train/source.h"

namespace torchvid {

/// The augmentation of CIFAR training: `pad` black pixels on each side, a random crop of the original size, a
/// horizontal flip with probability `flip`.
struct CropFlip {
  int64_t pad = 4;
  double flip = 0.5;
};

/// A set of labelled images in memory.
struct ImageSet {
  at::Tensor images;  // bytes (N, C, H, W)
  at::Tensor labels;  // int64 (N)
  /// Per channel: the network gets (byte / 255 - mean) / std.
  std::vector<double> mean;
  std::vector<double> std;
};

struct ImageSourceSettings {
  /// The last batch of an epoch may be smaller.
  int64_t batch_size = 64;
  /// A new order each epoch; else the set's own.
  bool shuffle = true;
  std::optional<CropFlip> augment;
  uint64_t seed = 0;
  /// The network's input, and whether it takes the images flat: (N, C * H * W).
  std::string input;
  bool flat = false;
};

struct ResidentSet;

/// Batches from an image set, epoch after epoch. The order follows from the seed and the epoch, the
/// augmentation from the seed and the pass, so a run can go on at any pass without further state.
class ImageSource : public Source {
 public:
  ImageSource(ImageSet set, ImageSourceSettings settings, at::Device device);
  Batch Next(int64_t pass, const at::Generator& generator) override;

  int64_t images() const { return set_.images.size(0); }
  int64_t passes_per_epoch() const;

 private:
  void SetOrder(int64_t epoch);
  /// Crops, flips and normalises the images `order_[first, first + count)`: one reading, one writing.
  at::Tensor Pictures(int64_t first, int64_t count, int64_t pass) const;
  /// The same of a set that is on the device: what is drawn here, what is done there.
  Batch Picks(int64_t first, int64_t count, int64_t pass) const;

  ImageSet set_;
  ImageSourceSettings settings_;
  at::Device device_;
  std::vector<float> table_;  // C x 256: what each byte becomes
  int64_t epoch_ = -1;
  at::Tensor order_;  // int64 (N): of the epoch
  /// Null where the set stays on the host: on the CPU, or when it would take too much of the device's memory.
  std::shared_ptr<const ResidentSet> resident_;
};

}  // namespace torchvid
