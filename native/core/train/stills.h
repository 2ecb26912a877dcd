#pragma once

#include <array>
#include <optional>
#include <vector>

#include "core/image/pixels.h"
#include "core/train/augment.h"
#include "core/train/source.h"

namespace torchvid {

/// A picture and the mask of its object.
struct Still {
  at::Tensor rgb;   // bytes (H, W, 3)
  at::Tensor mask;  // bytes (H, W), object where non-zero
};

/// A batch of stills: each resized to `size` (height, width), then augmented on its own.
struct StillsSettings {
  std::array<int64_t, 2> size{};
  PixelFormat format;
  std::optional<Augment> augment;
};

/// Input `image` (N, 3, height, width) and target (N, 1, height, width).
Batch MakeStills(const std::vector<Still>& stills, const StillsSettings& settings,
                 const at::Generator& generator, at::Device device);

}  // namespace torchvid
