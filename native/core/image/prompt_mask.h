#pragma once

#include <cstdint>
#include <vector>

#include "core/image/pixel_window.h"

namespace torchvid {

/// Bytes of the picture's size: 0, or the id of the object. `unclear`: ids of objects that could not be told
/// from their surroundings, so that an ellipse stands for them.
struct PromptMask {
  std::vector<uint8_t> data;
  std::vector<int64_t> unclear;
};

/// Finds the object in each box by GrabCut on the box and its surroundings; ids are 1, 2, 3 in the boxes'
/// order, at most 254. Outside its box an object has no pixel. Where objects meet, the more probable one
/// takes the pixel. Throws Cancelled.
PromptMask MaskFromBoxes(const RgbPicture& picture, const std::vector<PixelBox>& boxes, uint64_t seed);

/// A byte of a scribble that is background for certain; 0 is unmarked, others are ids.
constexpr uint8_t kScribbledBackground = 255;

/// Finds the objects whose ids are marked: `marks` has one byte a pixel, and some id. Marked pixels are what
/// they are marked as. Throws Cancelled.
PromptMask MaskFromScribble(const RgbPicture& picture, const std::vector<uint8_t>& marks, uint64_t seed);

}  // namespace torchvid
