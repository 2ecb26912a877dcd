#pragma once

#include <cstdint>
#include <vector>

namespace torchvid {

/// A mask: object where non-zero, row-major.
struct Mask {
  std::vector<uint8_t> data;
  int64_t width = 0;
  int64_t height = 0;
};

/// DAVIS J: |a and b| / |a or b|; 1 when both are empty.
double Jaccard(const Mask& prediction, const Mask& truth);

/// DAVIS F: the F-measure of boundary pixels within ceil(0.008 * diagonal) of the other boundary.
double Contour(const Mask& prediction, const Mask& truth);

}  // namespace torchvid
