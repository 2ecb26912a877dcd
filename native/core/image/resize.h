#pragma once

#include <cstdint>
#include <vector>

namespace torchvid {

/// Width and height in pixels.
struct ImageSize {
  int64_t width;
  int64_t height;
};

/// RGB bytes, row by row, resized by the antialiased bilinear filter in Pillow's fixed-point arithmetic: for
/// the usual sizes to the bit what `Image.resize(size, BILINEAR)` gives, at most 1 off elsewhere (where a
/// picture is made wider and lower at once, Pillow 13 takes columns first). Features are compared between
/// programs, and data sets were made with that filter. No LibTorch is in it, so that it runs beside the
/// engine.
std::vector<uint8_t> ResizeRgb(const uint8_t* rgb, ImageSize from, ImageSize to);

}  // namespace torchvid
