#include "core/train/source.h"

namespace torchvid {

Batch Finished(const Batch& batch) { return batch.finish ? batch.finish(batch) : batch; }

OneShotSource::OneShotSource(const at::Tensor& rgb, const at::Tensor& mask, const PixelFormat& format,
                             int64_t max_size, std::optional<Augment> augment, at::Device device)
    : augment_(augment) {
  const auto size = FitWithin(rgb.size(0), rgb.size(1), max_size);
  image_ = ToNetwork(rgb, format, size, device);
  mask_ = MaskToNetwork(mask, size, device);
}

Batch OneShotSource::Next(int64_t, const at::Generator& generator) {
  if (!augment_) return {{{"image", image_}}, mask_};
  const std::array<int64_t, 2> size{image_.size(2), image_.size(3)};
  Batch batch{{{"place", DrawPlace(*augment_, size, generator)}}, {}};
  batch.finish = [image = image_, mask = mask_](const Batch& drawn) -> Batch {
    auto [placed, mask_placed] = ApplyPlace(drawn.inputs.at("place"), image, mask);
    return {{{"image", placed}}, mask_placed};
  };
  return batch;
}

}  // namespace torchvid
