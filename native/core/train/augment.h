#pragma once

#include <ATen/ATen.h>

#include <utility>

namespace torchvid {

/// The OSVOS augmentation: a flip, then rotation and scaling about the centre.
struct Augment {
  double flip = 0.5;                            // probability
  double rotation = 30;                         // degrees, uniform in [-rotation, rotation]
  std::pair<double, double> scale{0.75, 1.25};  // uniform
};

/// One draw of `settings`: image (1, C, H, W) by bicubic, mask (1, 1, H, W) by nearest interpolation; outside
/// is 0, which is the mean colour and background. Draws three numbers from `generator`, whatever they turn
/// out to be.
std::pair<at::Tensor, at::Tensor> ApplyAugment(const Augment& settings, const at::Tensor& image,
                                               const at::Tensor& mask, const at::Generator& generator);

}  // namespace torchvid
