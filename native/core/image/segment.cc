#include "core/image/segment.h"

namespace torchvid {

Segmentation Segment(const std::vector<std::shared_ptr<Network>>& networks, const std::vector<int64_t>& ids,
                     const at::Tensor& rgb, const SegmentSettings& settings) {
  const auto size = FitWithin(rgb.size(0), rgb.size(1), settings.max_size);
  at::Tensor best;
  at::Tensor best_id;
  for (size_t i = 0; i < networks.size(); ++i) {
    const auto image = ToNetwork(rgb, settings.format, size, networks[i]->device());
    auto logits = networks[i]->Forward({{"image", image}}, {settings.output}, {}).at(settings.output);
    if (size[0] != rgb.size(0) || size[1] != rgb.size(1)) {
      logits = at::upsample_bilinear2d(logits, {rgb.size(0), rgb.size(1)}, false);
    }
    const auto probability = logits.squeeze(0).squeeze(0).sigmoid();
    if (i == 0) {
      best = probability;
      best_id = at::full_like(probability, static_cast<double>(ids[0]), at::kByte);
    } else {
      const auto better = probability > best;
      best = at::where(better, probability, best);
      best_id = best_id.masked_fill(better, static_cast<double>(ids[i]));
    }
  }
  return {at::where(best >= settings.threshold, best_id, at::zeros_like(best_id)).cpu(), best.cpu()};
}

}  // namespace torchvid
