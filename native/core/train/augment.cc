#include "core/train/augment.h"

#include <cmath>
#include <numbers>

#include "core/device/device.h"

namespace torchvid {

at::Tensor DrawPlace(const Augment& settings, const std::array<int64_t, 2>& size,
                     const at::Generator& generator) {
  const auto draws = at::empty({3}, at::kDouble).uniform_(0, 1, generator);
  const auto* u = draws.const_data_ptr<double>();
  const bool flip = u[0] < settings.flip;
  const double angle = (2 * u[1] - 1) * settings.rotation * std::numbers::pi / 180;
  const double scale = settings.scale.first + u[2] * (settings.scale.second - settings.scale.first);

  // A rotation in pixels is a shear in these coordinates unless the picture is square.
  const auto steps = [](int64_t side) { return static_cast<double>(std::max<int64_t>(side - 1, 1)); };
  const double aspect = steps(size[0]) / steps(size[1]);
  const double c = std::cos(angle) / scale;
  const double s = std::sin(angle) / scale;
  const double mirror = flip ? -1 : 1;
  const auto rows = at::tensor({mirror * c, mirror * s * aspect, 0.0, -s / aspect, c, 0.0}, at::kDouble);
  return rows.view({1, 2, 3}).to(at::kFloat);
}

std::pair<at::Tensor, at::Tensor> ApplyPlace(const at::Tensor& place, const at::Tensor& image,
                                             const at::Tensor& mask) {
  const auto theta = OnDevice(place, image.device());
  const auto grid = at::affine_grid_generator(theta, {1, 1, image.size(2), image.size(3)}, true);
  constexpr int64_t kNearest = 1;
  constexpr int64_t kBicubic = 2;
  constexpr int64_t kZeros = 0;
  return {at::grid_sampler(image, grid, kBicubic, kZeros, true),
          at::grid_sampler(mask, grid, kNearest, kZeros, true)};
}

}  // namespace torchvid
