#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/graph/network.h"
#include "core/image/pixels.h"

namespace torchvid {

struct SegmentSettings {
  PixelFormat format;
  /// The output that holds the logits of the object.
  std::string output = "fuse";
  double threshold = 0.5;
  int64_t max_size = 0;
};

struct Segmentation {
  at::Tensor mask;         // bytes (H, W): 0, or the id of the object
  at::Tensor probability;  // float (H, W): of the most probable object
};

/// Finds each network's object in one frame, RGB bytes (H, W, 3); the most probable object takes the pixel
/// where its probability reaches the threshold. `ids` has one id per network.
Segmentation Segment(const std::vector<std::shared_ptr<Network>>& networks, const std::vector<int64_t>& ids,
                     const at::Tensor& rgb, const SegmentSettings& settings);

}  // namespace torchvid
