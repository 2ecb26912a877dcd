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
  const auto& whole = normal_.resident;
  const auto count = normal_.batch + abnormal_.batch;
  auto features = at::empty({count, whole.size(1), whole.size(2), whole.size(3)}, whole.options());
  auto target = at::zeros({count}, whole.options());
  auto normal = features.narrow(0, 0, normal_.batch);
  auto abnormal = features.narrow(0, normal_.batch, abnormal_.batch);
  at::index_select_out(normal, whole, 0, Take(&normal_, pass));
  at::index_select_out(abnormal, abnormal_.resident, 0, Take(&abnormal_, pass));
  target.narrow(0, normal_.batch, abnormal_.batch).fill_(1);
  return {{{"features", features}}, target, normal_.batch};
}

}  // namespace torchvid
