#pragma once

#include <ATen/ATen.h>

#include <array>

namespace torchvid {

/// How a network takes its pictures: value = (x - mean) / std for x in 0..255, channels in RGB or BGR order;
/// `mean` and `std` stand in that same order.
struct PixelFormat {
  bool bgr = false;
  std::array<double, 3> mean{0, 0, 0};
  std::array<double, 3> std{1, 1, 1};
};

/// (height, width) scaled so that the longer side is at most `max_size` (0: as it is); never enlarged.
std::array<int64_t, 2> FitWithin(int64_t height, int64_t width, int64_t max_size);

/// RGB bytes (H, W, 3) -> float (1, 3, h, w) as `format` says, resized with area-like antialiasing when the
/// size differs.
at::Tensor ToNetwork(const at::Tensor& rgb, const PixelFormat& format, std::array<int64_t, 2> size,
                     at::Device device);

/// Bytes (H, W), object where non-zero -> float (1, 1, h, w) of 0 and 1.
at::Tensor MaskToNetwork(const at::Tensor& mask, std::array<int64_t, 2> size, at::Device device);

}  // namespace torchvid
