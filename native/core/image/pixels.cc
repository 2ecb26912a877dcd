#include "core/image/pixels.h"

#include <algorithm>
#include <cmath>

#include "core/device/device.h"

namespace torchvid {

std::array<int64_t, 2> FitWithin(int64_t height, int64_t width, int64_t max_size) {
  const auto longer = std::max(height, width);
  if (max_size <= 0 || longer <= max_size) return {height, width};
  const auto scaled = [&](int64_t side) {
    return std::max<int64_t>(1, static_cast<int64_t>(std::llround(static_cast<double>(side * max_size) /
                                                                  static_cast<double>(longer))));
  };
  return {scaled(height), scaled(width)};
}

at::Tensor ToNetwork(const at::Tensor& rgb, const PixelFormat& format, std::array<int64_t, 2> size,
                     at::Device device) {
  auto x = OnDevice(rgb, device).permute({2, 0, 1}).unsqueeze(0).to(at::kFloat);
  if (x.size(2) != size[0] || x.size(3) != size[1]) {
    x = at::_upsample_bilinear2d_aa(x.contiguous(), {size[0], size[1]}, false).clamp_(0, 255);
  }
  if (format.bgr) x = x.flip(1);
  const auto options = at::TensorOptions().dtype(at::kFloat);
  const auto per_channel = [&](const std::array<double, 3>& v) {
    return OnDevice(at::tensor({v[0], v[1], v[2]}, options).view({1, 3, 1, 1}), device);
  };
  return x.sub(per_channel(format.mean)).div_(per_channel(format.std)).contiguous();
}

at::Tensor MaskToNetwork(const at::Tensor& mask, std::array<int64_t, 2> size, at::Device device) {
  auto y = OnDevice(mask, device).ne(0).to(at::kFloat).unsqueeze(0).unsqueeze(0);
  if (y.size(2) == size[0] && y.size(3) == size[1]) return y;
  return at::_upsample_bilinear2d_aa(y, {size[0], size[1]}, false).ge(0.5).to(at::kFloat);
}

}  // namespace torchvid
