#include "core/train/clips.h"

#include <algorithm>
#include <cmath>

#include "core/device/device.h"

namespace torchvid {

namespace {

constexpr int64_t kBilinear = 0;
constexpr int64_t kZeros = 0;
constexpr int64_t kBorder = 1;

/// A frame in the making: RGB of 0..255 (1, 3, h, w) and mask (1, 1, h, w).
struct Picture {
  at::Tensor image;
  at::Tensor mask;
};

at::Tensor Grid(const Placement& place, const std::array<int64_t, 2>& size, at::Device device) {
  const auto theta = at::tensor(at::ArrayRef<double>(place.data(), place.size()), at::kFloat).view({1, 2, 3});
  return at::affine_grid_generator(OnDevice(theta, device), {1, 1, size[0], size[1]}, false);
}

Picture Place(const ClipFrame& frame, const std::array<int64_t, 2>& size, at::Device device) {
  const auto grid = Grid(frame.place, size, device);
  const auto rgb = OnDevice(frame.rgb, device).permute({2, 0, 1}).unsqueeze(0).to(at::kFloat);
  const auto mask = OnDevice(frame.mask, device).ne(0).to(at::kFloat).unsqueeze(0).unsqueeze(0);
  return {at::grid_sampler(rgb, grid, kBilinear, kBorder, false),
          at::grid_sampler(mask, grid, kBilinear, kZeros, false)};
}

/// `top` where `share` is 1, `bottom` where it is 0.
at::Tensor Over(const at::Tensor& top, const at::Tensor& bottom, const at::Tensor& share) {
  return bottom + (top - bottom) * share;
}

Picture Mixed(const Picture& own, const Picture& other, ClipMixture::Role role) {
  if (role == ClipMixture::Role::kBackground) return {Over(own.image, other.image, own.mask), own.mask};
  const auto share = role == ClipMixture::Role::kFront ? other.mask : other.mask * (1 - own.mask);
  return {Over(other.image, own.image, share), own.mask * (1 - share)};
}

Picture Frame(const Clip& clip, size_t index, const ClipsSettings& settings, at::Device device) {
  const auto& frame = clip.frames[index];
  auto picture = Place(frame, settings.size, device);
  if (clip.mixture)
    picture = Mixed(picture, Place(clip.mixture->frames[index], settings.size, device), clip.mixture->role);
  const auto per_channel = [&](const std::array<double, 3>& v) {
    return OnDevice(at::tensor({v[0], v[1], v[2]}, at::kFloat).view({1, 3, 1, 1}), device);
  };
  auto image = (picture.image * per_channel(frame.gain) + frame.offset).clamp_(0, 255);
  if (settings.format.bgr) image = image.flip(1);
  image.sub_(per_channel(settings.format.mean)).div_(per_channel(settings.format.std));
  return {image, picture.mask.ge(0.5).to(at::kFloat)};
}

at::Tensor Damaged(const at::Tensor& mask, const MaskDamage& damage) {
  const std::array<int64_t, 2> size{mask.size(2), mask.size(3)};
  auto out = at::grid_sampler(mask, Grid(damage.place, size, mask.device()), kBilinear, kZeros, false);
  if (damage.grow != 0) {
    const auto reach = std::abs(damage.grow);
    const double sign = damage.grow > 0 ? 1 : -1;
    out = at::max_pool2d(out * sign, {2 * reach + 1, 2 * reach + 1}, {1, 1}, {reach, reach}) * sign;
  }
  if (!damage.patch) return out;
  const auto& [top, left, height, width] = damage.patch->box;
  const auto range = [](double start, double length, int64_t side) {
    const auto at = [&](double share) {
      return std::clamp<int64_t>(std::llround(share * static_cast<double>(side)), 0, side);
    };
    return std::pair{at(start), at(start + length)};
  };
  const auto [first, last] = range(top, height, size[0]);
  const auto [begin, end] = range(left, width, size[1]);
  out.slice(2, first, last).slice(3, begin, end).fill_(damage.patch->value);
  return out;
}

}  // namespace

Batch MakeClips(const std::vector<Clip>& clips, const ClipsSettings& settings, at::Device device) {
  TensorList images;
  TensorList masks;
  TensorList previous;
  for (const auto& clip : clips) {
    TensorList clip_images;
    TensorList clip_masks;
    for (size_t i = 0; i < clip.frames.size(); ++i) {
      auto [image, mask] = Frame(clip, i, settings, device);
      clip_images.push_back(std::move(image));
      clip_masks.push_back(std::move(mask));
    }
    const auto& second = clip_masks.at(1);
    previous.push_back(clip.damage ? Damaged(second, *clip.damage) : second);
    images.push_back(at::stack(clip_images, 1));
    masks.push_back(at::stack(clip_masks, 1));
  }
  Batch batch;
  batch.inputs["image"] = at::cat(images);
  batch.inputs["previous"] = at::cat(previous);
  batch.target = at::cat(masks);
  return batch;
}

}  // namespace torchvid
