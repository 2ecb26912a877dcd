#include "core/train/stills.h"

namespace torchvid {

Batch MakeStills(const std::vector<Still>& stills, const StillsSettings& settings,
                 const at::Generator& generator, at::Device device) {
  TensorList images;
  TensorList masks;
  for (const auto& [rgb, object] : stills) {
    auto image = ToNetwork(rgb, settings.format, settings.size, device);
    auto mask = MaskToNetwork(object, settings.size, device);
    if (settings.augment)
      std::tie(image, mask) = ApplyPlace(DrawPlace(*settings.augment, settings.size, generator), image, mask);
    images.push_back(std::move(image));
    masks.push_back(std::move(mask));
  }
  if (images.size() == 1) return {{{"image", images[0]}}, masks[0]};
  return {{{"image", at::cat(images)}}, at::cat(masks)};
}

}  // namespace torchvid
