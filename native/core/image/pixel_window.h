#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/image/colour_mixture.h"
#include "core/image/resize.h"

namespace torchvid {

/// RGB bytes, row by row; they belong to the caller.
struct RgbPicture {
  const uint8_t* rgb = nullptr;
  ImageSize size{};
};

/// Pixels from (left, top) on, whole and inside their picture.
struct PixelBox {
  int64_t left = 0;
  int64_t top = 0;
  int64_t width = 0;
  int64_t height = 0;
};

/// The box with so many pixels more on each side, as far as the picture goes.
PixelBox Grown(const PixelBox& box, double by_width, double by_height, ImageSize picture);

/// The same shape, its longer side at most `side`.
ImageSize Within(ImageSize size, int64_t side);

/// The window's colours, scaled to `size`.
std::vector<Colour> ColoursOf(const RgbPicture& picture, const PixelBox& window, ImageSize size);

/// Labels 0 and 1 at another size, between 0 and 1: bilinear, pixels being areas.
std::vector<float> Scaled(const std::vector<uint8_t>& labels, ImageSize from, ImageSize to);

/// Squared distance from the box's centre to a place in the picture, 1 on the box's inscribed ellipse.
double EllipseRadius(const PixelBox& box, double x, double y);

/// The pixels of `set` that hang together with one of `from` (also diagonally).
std::vector<uint8_t> Reachable(ImageSize size, const std::vector<uint8_t>& set,
                               const std::vector<uint8_t>& from);

/// Calls visit(index, x, y) for every pixel of a window scaled to `size`; x and y are its centre's place in
/// the picture.
template <typename Visit>
void ForPixels(const PixelBox& window, ImageSize size, Visit visit) {
  const double step_x = static_cast<double>(window.width) / static_cast<double>(size.width);
  const double step_y = static_cast<double>(window.height) / static_cast<double>(size.height);
  for (int64_t y = 0; y < size.height; ++y) {
    for (int64_t x = 0; x < size.width; ++x) {
      visit(static_cast<size_t>(y * size.width + x),
            static_cast<double>(window.left) + (static_cast<double>(x) + 0.5) * step_x,
            static_cast<double>(window.top) + (static_cast<double>(y) + 0.5) * step_y);
    }
  }
}

}  // namespace torchvid
