#include "core/train/source.h"

namespace torchvid {

OneShotSource::OneShotSource(const at::Tensor& rgb, const at::Tensor& mask, const PixelFormat& format,
                             int64_t max_size, std::optional<Augment> augment, at::Device device)
    : augment_(augment) {
  const auto size = FitWithin(rgb.size(0), rgb.size(1), max_size);
  image_ = ToNetwork(rgb, format, size, device);
  mask_ = MaskToNetwork(mask, size, device);
}

Batch OneShotSource::Next(int64_t, const at::Generator& generator) {
  if (!augment_) return {{{"image", image_}}, mask_};
  auto [image, mask] = ApplyAugment(*augment_, image_, mask_, generator);
  return {{{"image", image}}, mask};
}

}  // namespace torchvid
