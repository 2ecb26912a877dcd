#pragma once

#include <ATen/ATen.h>

#include <array>
#include <utility>

namespace torchvid {

/// The OSVOS augmentation: a flip, then rotation and scaling about the centre.
struct Augment {
  double flip = 0.5;                            // probability
  double rotation = 30;                         // degrees, uniform in [-rotation, rotation]
  std::pair<double, double> scale{0.75, 1.25};  // uniform
};

/// One draw of `settings` for a picture of a size (height, width): where each place of the result comes from,
/// as an affine map (1, 2, 3) of coordinates that are -1..1 from border pixel to border pixel, on the host.
/// Draws three numbers from `generator`, whatever they turn out to be.
at::Tensor DrawPlace(const Augment& settings, const std::array<int64_t, 2>& size,
                     const at::Generator& generator);

/// Image (1, C, H, W) by bicubic, mask (1, 1, H, W) by nearest interpolation; outside is 0, which is the mean
/// colour and background.
std::pair<at::Tensor, at::Tensor> ApplyPlace(const at::Tensor& place, const at::Tensor& image,
                                             const at::Tensor& mask);

}  // namespace torchvid
