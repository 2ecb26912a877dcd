#include "core/train/bag_source.h"

#include <algorithm>

#include "core/device/device.h"
#include "core/error.h"

namespace torchvid {

BagSource::BagSource(BagSourceSettings settings, at::Device device)
    : settings_(std::move(settings)), device_(device) {
  const auto normal = static_cast<int64_t>(settings_.normal.size());
  const auto abnormal = static_cast<int64_t>(settings_.abnormal.size());
  if (normal == 0 || abnormal == 0)
    throw InvalidArgument("Wanted at least one normal and one abnormal video.");
  normal_.batch = std::min(settings_.batch_size, settings_.paired ? std::min(normal, abnormal) : normal);
  abnormal_.batch = std::min(settings_.batch_size, settings_.paired ? std::min(normal, abnormal) : abnormal);
}

bool BagSource::Prepare() {
  const auto normal = settings_.normal.size();
  const auto all = normal + settings_.abnormal.size();
  if (loaded_ < normal) {
    Load(&normal_, settings_.normal, loaded_);
  } else if (loaded_ < all) {
    Load(&abnormal_, settings_.abnormal, loaded_ - normal);
  } else {
    return false;
  }
  return ++loaded_ < all;
}

void BagSource::Load(Bags* bags, const std::vector<VideoFeatures>& videos, size_t index) {
  auto video = Resample(ReadFeatures(videos[index]), settings_.segments, settings_.resampling);
  if (settings_.normalise) video = NormaliseRows(video);
  const auto& other = normal_.resident;
  if (other.defined() && (other.size(1) != video.size(0) || other.size(3) != video.size(2))) {
    throw ShapeError(videos[index].name + ": its features have " + std::to_string(video.size(0)) +
                     " crops of " + std::to_string(video.size(2)) + " numbers, those of " +
                     settings_.normal[0].name + " " + std::to_string(other.size(1)) + " of " +
                     std::to_string(other.size(3)) + ". All videos of a training must agree.");
  }
  if (!bags->resident.defined()) {
    auto shape = video.sizes().vec();
    shape.insert(shape.begin(), static_cast<int64_t>(videos.size()));
    bags->resident = at::empty(shape, video.options().device(device_));
  }
  bags->resident.select(0, static_cast<int64_t>(index)).copy_(OnDevice(video, device_));
}

at::Tensor BagSource::Take(Bags* bags, int64_t pass) const {
  const auto videos = bags->resident.size(0);
  const auto passes = videos / bags->batch;  // the rest of an epoch is left out, as the reference does
  if (const auto epoch = pass / passes; epoch != bags->epoch) {
    bags->order = OnDevice(EpochOrder(videos, settings_.shuffle, settings_.seed, bags->stream, epoch),
                           bags->resident.device());
    bags->epoch = epoch;
  }
  return bags->order.narrow(0, pass % passes * bags->batch, bags->batch);
}

Batch BagSource::Next(int64_t pass, const at::Generator&) {
  Batch batch{{{"normal", Take(&normal_, pass)}, {"abnormal", Take(&abnormal_, pass)}}, {}, normal_.batch};
  batch.finish = [all_normal = normal_.resident,
                  all_abnormal = abnormal_.resident](const Batch& drawn) -> Batch {
    const auto& picks_normal = drawn.inputs.at("normal");
    const auto& picks_abnormal = drawn.inputs.at("abnormal");
    const auto bags = drawn.normal + picks_abnormal.size(0);
    auto features =
        at::empty({bags, all_normal.size(1), all_normal.size(2), all_normal.size(3)}, all_normal.options());
    auto target = at::zeros({bags}, all_normal.options());
    auto normal = features.narrow(0, 0, drawn.normal);
    auto abnormal = features.narrow(0, drawn.normal, picks_abnormal.size(0));
    at::index_select_out(normal, all_normal, 0, picks_normal);
    at::index_select_out(abnormal, all_abnormal, 0, picks_abnormal);
    target.narrow(0, drawn.normal, picks_abnormal.size(0)).fill_(1);
    return {{{"features", features}}, target, drawn.normal};
  };
  return batch;
}

}  // namespace torchvid
