#include "core/image/pixel_window.h"

#include <algorithm>
#include <cmath>

namespace torchvid {

namespace {

/// Between which two pixels of a line of `from` a pixel of one of `to` lies, and how near to the second.
struct Between {
  int64_t first;
  int64_t second;
  float share;
};

Between PlaceOf(int64_t pixel, int64_t from, int64_t to) {
  const double place =
      (static_cast<double>(pixel) + 0.5) * static_cast<double>(from) / static_cast<double>(to) - 0.5;
  const auto below = static_cast<int64_t>(std::floor(place));
  return {std::clamp<int64_t>(below, 0, from - 1), std::clamp<int64_t>(below + 1, 0, from - 1),
          static_cast<float>(place - std::floor(place))};
}

}  // namespace

PixelBox Grown(const PixelBox& box, double by_width, double by_height, ImageSize picture) {
  const auto across = static_cast<int64_t>(std::llround(by_width));
  const auto down = static_cast<int64_t>(std::llround(by_height));
  const auto left = std::max<int64_t>(0, box.left - across);
  const auto top = std::max<int64_t>(0, box.top - down);
  const auto right = std::min(picture.width, box.left + box.width + across);
  const auto bottom = std::min(picture.height, box.top + box.height + down);
  return {left, top, right - left, bottom - top};
}

ImageSize Within(ImageSize size, int64_t side) {
  const auto longer = std::max(size.width, size.height);
  if (longer <= side) return size;
  const auto scaled = [&](int64_t length) {
    return std::max<int64_t>(1, (length * side + longer / 2) / longer);
  };
  return {scaled(size.width), scaled(size.height)};
}

std::vector<Colour> ColoursOf(const RgbPicture& picture, const PixelBox& window, ImageSize size) {
  std::vector<uint8_t> bytes(static_cast<size_t>(3 * window.width * window.height));
  for (int64_t y = 0; y < window.height; ++y) {
    const auto* row = picture.rgb + 3 * ((window.top + y) * picture.size.width + window.left);
    std::copy_n(row, 3 * window.width, bytes.begin() + 3 * y * window.width);
  }
  if (size.width != window.width || size.height != window.height) {
    bytes = ResizeRgb(bytes.data(), {window.width, window.height}, size);
  }
  std::vector<Colour> colours(bytes.size() / 3);
  for (size_t i = 0; i < colours.size(); ++i) {
    for (size_t c = 0; c < 3; ++c) colours[i][c] = bytes[3 * i + c];
  }
  return colours;
}

std::vector<float> Scaled(const std::vector<uint8_t>& labels, ImageSize from, ImageSize to) {
  std::vector<Between> columns;
  for (int64_t x = 0; x < to.width; ++x) columns.push_back(PlaceOf(x, from.width, to.width));
  std::vector<float> scaled(static_cast<size_t>(to.width * to.height));
  for (int64_t y = 0; y < to.height; ++y) {
    const auto row = PlaceOf(y, from.height, to.height);
    for (int64_t x = 0; x < to.width; ++x) {
      const auto& column = columns[static_cast<size_t>(x)];
      const auto in_row = [&](int64_t at) {
        const float first = labels[static_cast<size_t>(at * from.width + column.first)];
        const float second = labels[static_cast<size_t>(at * from.width + column.second)];
        return first + (second - first) * column.share;
      };
      const float first = in_row(row.first);
      scaled[static_cast<size_t>(y * to.width + x)] = first + (in_row(row.second) - first) * row.share;
    }
  }
  return scaled;
}

double EllipseRadius(const PixelBox& box, double x, double y) {
  const double u = (x - static_cast<double>(box.left)) / static_cast<double>(box.width) * 2 - 1;
  const double v = (y - static_cast<double>(box.top)) / static_cast<double>(box.height) * 2 - 1;
  return u * u + v * v;
}

std::vector<uint8_t> Reachable(ImageSize size, const std::vector<uint8_t>& set,
                               const std::vector<uint8_t>& from) {
  std::vector<uint8_t> reached(set.size());
  std::vector<int64_t> waiting;
  const auto reach = [&](int64_t i) {
    const auto at = static_cast<size_t>(i);
    if (set[at] == 0 || reached[at] != 0) return;
    reached[at] = 1;
    waiting.push_back(i);
  };
  for (size_t i = 0; i < from.size(); ++i) {
    if (from[i] != 0) reach(static_cast<int64_t>(i));
  }
  while (!waiting.empty()) {
    const auto i = waiting.back();
    waiting.pop_back();
    const auto x = i % size.width;
    const auto y = i / size.width;
    for (auto row = std::max<int64_t>(0, y - 1); row <= std::min(size.height - 1, y + 1); ++row) {
      for (auto column = std::max<int64_t>(0, x - 1); column <= std::min(size.width - 1, x + 1); ++column) {
        reach(row * size.width + column);
      }
    }
  }
  return reached;
}

}  // namespace torchvid
