#include "core/image/resize.h"

#include <algorithm>
#include <cmath>

namespace torchvid {

namespace {

constexpr int64_t kChannels = 3;

/// Weights are whole numbers, 1 being 2^22: products with bytes and their sums stay within 32 bits.
constexpr int kFractionBits = 22;
constexpr int32_t kHalf = 1 << (kFractionBits - 1);

/// Where the inputs of one output begin, and their weights.
struct Taps {
  int64_t first = 0;
  std::vector<int32_t> weights;
};

/// The triangle filter for each of `to` places on a line of `from`. Shrinking widens it by the factor.
std::vector<Taps> TriangleTaps(int64_t from, int64_t to) {
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  const double support = std::max(scale, 1.0);
  std::vector<Taps> taps(static_cast<size_t>(to));
  std::vector<double> values;
  for (int64_t place = 0; place < to; ++place) {
    const double centre = (static_cast<double>(place) + 0.5) * scale;
    const auto first = std::max<int64_t>(0, static_cast<int64_t>(centre - support + 0.5));
    const auto end = std::min(from, static_cast<int64_t>(centre + support + 0.5));
    values.clear();
    double total = 0;
    for (int64_t i = first; i < end; ++i) {
      const double distance = std::abs(static_cast<double>(i) - centre + 0.5) * (1.0 / support);
      values.push_back(std::max(0.0, 1.0 - distance));
      total += values.back();
    }
    auto& tap = taps[static_cast<size_t>(place)];
    tap.first = first;
    for (const double value : values) {
      tap.weights.push_back(static_cast<int32_t>(value / total * (1 << kFractionBits) + 0.5));
    }
  }
  return taps;
}

uint8_t ToByte(int32_t sum) { return static_cast<uint8_t>(std::clamp(sum >> kFractionBits, 0, 255)); }

/// Rows that are resized together: their pixels stand side by side, so that vector instructions take them at
/// once.
constexpr int64_t kTogether = 8;
constexpr int64_t kLane = kTogether * kChannels;

/// `column` holds kTogether rows, pixel by pixel; `to`: where each one goes.
void ResizeRowsTogether(const uint8_t* column, const std::vector<Taps>& taps, uint8_t* const* to) {
  int64_t x = 0;
  for (const auto& tap : taps) {
    const auto* pixels = column + tap.first * kLane;
    int32_t sums[kLane];
    for (auto& sum : sums) sum = kHalf;
    for (const int32_t weight : tap.weights) {
      for (int64_t i = 0; i < kLane; ++i) sums[i] += pixels[i] * weight;
      pixels += kLane;
    }
    for (int64_t row = 0; row < kTogether; ++row) {
      for (int64_t c = 0; c < kChannels; ++c) to[row][x + c] = ToByte(sums[row * kChannels + c]);
    }
    x += kChannels;
  }
}

std::vector<uint8_t> ResizeRows(const uint8_t* rgb, ImageSize from, int64_t to_width) {
  const auto taps = TriangleTaps(from.width, to_width);
  std::vector<uint8_t> out(static_cast<size_t>(to_width * from.height * kChannels));
  std::vector<uint8_t> column(static_cast<size_t>(from.width * kLane));
  uint8_t* to[kTogether];
  for (int64_t y = 0; y < from.height; y += kTogether) {
    for (int64_t row = 0; row < kTogether; ++row) {
      const auto at = std::min(y + row, from.height - 1);  // the last row fills up the last group
      const auto* pixel = rgb + at * from.width * kChannels;
      to[row] = out.data() + at * to_width * kChannels;
      auto* place = column.data() + row * kChannels;
      for (int64_t x = 0; x < from.width; ++x, place += kLane, pixel += kChannels) {
        for (int64_t c = 0; c < kChannels; ++c) place[c] = pixel[c];
      }
    }
    ResizeRowsTogether(column.data(), taps, to);
  }
  return out;
}

std::vector<uint8_t> ResizeColumns(const uint8_t* rgb, ImageSize from, int64_t to_height) {
  const auto taps = TriangleTaps(from.height, to_height);
  const auto length = static_cast<size_t>(from.width * kChannels);
  std::vector<uint8_t> out(length * static_cast<size_t>(to_height));
  std::vector<int32_t> sums(length);
  auto* to = out.data();
  for (const auto& tap : taps) {
    std::fill(sums.begin(), sums.end(), kHalf);
    const auto* row = rgb + static_cast<size_t>(tap.first) * length;
    for (const int32_t weight : tap.weights) {
      for (size_t i = 0; i < length; ++i) sums[i] += row[i] * weight;
      row += length;
    }
    for (const int32_t sum : sums) *to++ = ToByte(sum);
  }
  return out;
}

}  // namespace

std::vector<uint8_t> ResizeRgb(const uint8_t* rgb, ImageSize from, ImageSize to) {
  std::vector<uint8_t> wide;
  if (to.width != from.width) {
    wide = ResizeRows(rgb, from, to.width);
    rgb = wide.data();
  }
  if (to.height != from.height) return ResizeColumns(rgb, {to.width, from.height}, to.height);
  if (!wide.empty()) return wide;
  return {rgb, rgb + from.width * from.height * kChannels};
}

}  // namespace torchvid
