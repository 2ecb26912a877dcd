#pragma once

#include <string>
#include <vector>

#include "core/graph/network.h"
#include "core/image/pixels.h"

namespace torchvid {

/// A part of every frame, in pixels; `flip`: of the mirrored frame.
struct CropWindow {
  int64_t top = 0;
  int64_t left = 0;
  int64_t height = 0;
  int64_t width = 0;
  bool flip = false;
};

struct ClipSettings {
  PixelFormat format;
  CropWindow window;
  /// The network's output that is the feature: (N, F, ...), of which all but F is averaged.
  std::string output = "features";
};

/// The feature, float (F) on the CPU, of a window of a clip: RGB bytes (H, W, 3) per frame, all of one size.
/// A network that takes clips (N, 3, T, H, W) gets one; one that takes pictures (N, 3, H, W) gets the frames
/// as a batch, and their features are averaged. Throws ERR_SHAPE, ERR_INVALID_ARGUMENT and what the network
/// throws.
at::Tensor ClipFeatures(Network& network, const std::vector<at::Tensor>& frames,
                        const ClipSettings& settings);

}  // namespace torchvid
