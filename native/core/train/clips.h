#pragma once

#include <array>
#include <optional>
#include <vector>

#include "core/image/pixels.h"
#include "core/train/source.h"

namespace torchvid {

/// A map from the places of a picture that is made to those of the picture it is made from, rows x and y, in
/// coordinates of -1..1 from border to border: (x', y') = (a x + b y + c, d x + e y + f).
using Placement = std::array<double, 6>;

/// A frame of a clip: a video's frame and mask, moved.
struct ClipFrame {
  at::Tensor rgb;   // bytes (H, W, 3)
  at::Tensor mask;  // bytes (H, W), object where non-zero
  Placement place;
  /// Factors on R, G and B, after which `offset` (of 0..255) is added.
  std::array<double, 3> gain{1, 1, 1};
  double offset = 0;
};

/// Another video's frame mixed in: its object before or behind this one's, or all of it as background.
struct ClipMixture {
  enum class Role { kFront, kBehind, kBackground };
  Role role = Role::kBehind;
  std::vector<ClipFrame> frames;  // as many as the clip has
};

/// What is done to a mask that stands for a prediction: it is moved, then grown (or shrunk, below 0) by so
/// many pixels, then a rectangle (top, left, height, width, in shares of the sides) is set to a value.
struct MaskDamage {
  Placement place{1, 0, 0, 0, 1, 0};
  int64_t grow = 0;
  struct Patch {
    std::array<double, 4> box{};
    double value = 0;
  };
  std::optional<Patch> patch;
};

/// A few frames of one object: the reference, the frame before the first that is to be found, and those.
struct Clip {
  std::vector<ClipFrame> frames;
  std::optional<ClipMixture> mixture;
  /// Of the second frame's mask.
  std::optional<MaskDamage> damage;
};

struct ClipsSettings {
  std::array<int64_t, 2> size{};  // height, width
  PixelFormat format;
};

/// Inputs `image` (N, T, 3, height, width) and `previous` (N, 1, height, width), the second frames' masks
/// after damage; target (N, T, 1, height, width).
Batch MakeClips(const std::vector<Clip>& clips, const ClipsSettings& settings, at::Device device);

}  // namespace torchvid
