#include "core/metrics/davis.h"

#include <algorithm>
#include <cmath>

namespace torchvid {

namespace {

/// A pixel is on the boundary where it differs from its right, lower or lower-right neighbour; in the last
/// row only the right one counts, in the last column only the lower one, the last corner never is.
std::vector<uint8_t> Boundary(const Mask& mask) {
  const auto w = mask.width;
  const auto h = mask.height;
  std::vector<uint8_t> boundary(mask.data.size(), 0);
  const auto object = [&](int64_t y, int64_t x) { return mask.data[static_cast<size_t>(y * w + x)] != 0; };
  for (int64_t y = 0; y < h; ++y) {
    for (int64_t x = 0; x < w; ++x) {
      const bool here = object(y, x);
      const bool right = x + 1 < w && object(y, x + 1) != here;
      const bool below = y + 1 < h && object(y + 1, x) != here;
      const bool corner = x + 1 < w && y + 1 < h && object(y + 1, x + 1) != here;
      boundary[static_cast<size_t>(y * w + x)] = right || below || corner;
    }
  }
  return boundary;
}

/// Every pixel within `radius` of a set one: rows of a disk are stamped around each.
std::vector<uint8_t> Dilate(const std::vector<uint8_t>& set, int64_t w, int64_t h, int64_t radius) {
  std::vector<int64_t> half(static_cast<size_t>(radius) + 1);
  for (int64_t dy = 0; dy <= radius; ++dy) {
    int64_t dx = 0;
    while ((dx + 1) * (dx + 1) + dy * dy <= radius * radius) ++dx;
    half[static_cast<size_t>(dy)] = dx;
  }
  std::vector<uint8_t> out(set.size(), 0);
  for (int64_t y = 0; y < h; ++y) {
    for (int64_t x = 0; x < w; ++x) {
      if (!set[static_cast<size_t>(y * w + x)]) continue;
      for (int64_t row = std::max<int64_t>(0, y - radius); row <= std::min(h - 1, y + radius); ++row) {
        const auto reach = half[static_cast<size_t>(std::abs(row - y))];
        const auto from = std::max<int64_t>(0, x - reach);
        const auto to = std::min(w - 1, x + reach);
        std::fill(out.begin() + row * w + from, out.begin() + row * w + to + 1, uint8_t{1});
      }
    }
  }
  return out;
}

int64_t Count(const std::vector<uint8_t>& set) { return std::count(set.begin(), set.end(), uint8_t{1}); }

int64_t CountBoth(const std::vector<uint8_t>& a, const std::vector<uint8_t>& b) {
  int64_t both = 0;
  for (size_t i = 0; i < a.size(); ++i) both += a[i] & b[i];
  return both;
}

}  // namespace

double Jaccard(const Mask& prediction, const Mask& truth) {
  int64_t both = 0;
  int64_t either = 0;
  for (size_t i = 0; i < truth.data.size(); ++i) {
    const bool p = prediction.data[i] != 0;
    const bool t = truth.data[i] != 0;
    both += p && t;
    either += p || t;
  }
  return either == 0 ? 1 : static_cast<double>(both) / static_cast<double>(either);
}

double Contour(const Mask& prediction, const Mask& truth) {
  const auto w = truth.width;
  const auto h = truth.height;
  const auto radius = static_cast<int64_t>(std::ceil(0.008 * std::sqrt(static_cast<double>(h * h + w * w))));
  const auto p = Boundary(prediction);
  const auto t = Boundary(truth);
  const auto p_count = Count(p);
  const auto t_count = Count(t);
  double precision = 1;
  double recall = 1;
  if (p_count == 0 && t_count > 0) {
    recall = 0;
  } else if (p_count > 0 && t_count == 0) {
    precision = 0;
  } else if (p_count > 0) {
    precision = static_cast<double>(CountBoth(p, Dilate(t, w, h, radius))) / static_cast<double>(p_count);
    recall = static_cast<double>(CountBoth(t, Dilate(p, w, h, radius))) / static_cast<double>(t_count);
  }
  return precision + recall == 0 ? 0 : 2 * precision * recall / (precision + recall);
}

}  // namespace torchvid
