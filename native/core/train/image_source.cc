#include "core/train/image_source.h"

#include <algorithm>

#include "core/device/device.h"
#include "core/train/streams.h"

namespace torchvid {

namespace {

constexpr int64_t kBytes = 256;

/// One picture's crop and flip.
struct Placement {
  int64_t top = 0;  // row of the source that the first row shows; may be negative
  int64_t left = 0;
  bool flip = false;
};

std::vector<Placement> Draw(const CropFlip& augment, int64_t count, const at::Generator& generator) {
  const auto draws = at::empty({count, 3}, at::kDouble).uniform_(0, 1, generator);
  const auto* u = draws.const_data_ptr<double>();
  const auto offset = [&](double x) {
    const auto places = 2 * augment.pad + 1;
    return std::min(static_cast<int64_t>(x * static_cast<double>(places)), places - 1) - augment.pad;
  };
  std::vector<Placement> placements;
  placements.reserve(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i, u += 3)
    placements.push_back({offset(u[0]), offset(u[1]), u[2] < augment.flip});
  return placements;
}

/// The sizes of one picture.
struct Size {
  int64_t channels;
  int64_t height;
  int64_t width;
};

/// One picture: what lies outside the source is black.
void Place(const uint8_t* source, const float* table, const Placement& placement, const Size& size,
           float* out) {
  const auto [top, left, flip] = placement;
  // The columns of the crop that lie in the source, in the crop's own order.
  const auto first = std::clamp<int64_t>(-left, 0, size.width);
  const auto last = std::clamp<int64_t>(size.width - left, first, size.width);
  const auto start = flip ? size.width - 1 : 0;
  const int64_t step = flip ? -1 : 1;
  for (int64_t c = 0; c < size.channels; ++c, table += kBytes) {
    for (int64_t y = 0; y < size.height; ++y) {
      float* target = out + (c * size.height + y) * size.width + start;
      const auto row = y + top;
      const bool inside = row >= 0 && row < size.height;
      const auto from = inside ? first : size.width;
      for (int64_t x = 0; x < from; ++x, target += step) *target = table[0];
      if (!inside) continue;
      const auto* pixel = source + (c * size.height + row) * size.width + from + left;
      for (int64_t x = from; x < last; ++x, target += step) *target = table[*pixel++];
      for (int64_t x = last; x < size.width; ++x, target += step) *target = table[0];
    }
  }
}

}  // namespace

ImageSource::ImageSource(ImageSet set, ImageSourceSettings settings, at::Device device)
    : set_(std::move(set)), settings_(std::move(settings)), device_(device) {
  for (size_t c = 0; c < set_.mean.size(); ++c) {
    // Single precision and in this order, as ToTensor and Normalize compute it.
    const auto mean = static_cast<float>(set_.mean[c]);
    const auto std = static_cast<float>(set_.std[c]);
    for (int64_t byte = 0; byte < kBytes; ++byte)
      table_.push_back((static_cast<float>(byte) / 255.0F - mean) / std);
  }
}

int64_t ImageSource::passes_per_epoch() const {
  return (images() + settings_.batch_size - 1) / settings_.batch_size;
}

void ImageSource::SetOrder(int64_t epoch) {
  if (epoch == epoch_) return;
  order_ = EpochOrder(images(), settings_.shuffle, settings_.seed, Stream::kOrder, epoch);
  epoch_ = epoch;
}

at::Tensor ImageSource::Pictures(int64_t first, int64_t count, int64_t pass) const {
  const auto& images = set_.images;
  const Size shape{images.size(1), images.size(2), images.size(3)};
  // Pinned memory is copied to the device while the host goes on.
  auto batch = at::empty({count, shape.channels, shape.height, shape.width},
                         at::TensorOptions().dtype(at::kFloat).pinned_memory(device_.is_cuda()));
  std::vector<Placement> placements(static_cast<size_t>(count));
  if (settings_.augment)
    placements = Draw(*settings_.augment, count, GeneratorFor(settings_.seed, Stream::kAugment, pass));
  const auto size = shape.channels * shape.height * shape.width;
  const auto* source = images.const_data_ptr<uint8_t>();
  const auto* order = order_.const_data_ptr<int64_t>() + first;
  auto* out = batch.mutable_data_ptr<float>();
  for (int64_t i = 0; i < count; ++i)
    Place(source + order[i] * size, table_.data(), placements[static_cast<size_t>(i)], shape, out + i * size);
  return settings_.flat ? batch.view({count, size}) : batch;
}

Batch ImageSource::Next(int64_t pass, const at::Generator&) {
  SetOrder(pass / passes_per_epoch());
  const auto first = pass % passes_per_epoch() * settings_.batch_size;
  const auto count = std::min(settings_.batch_size, images() - first);
  Batch batch;
  batch.inputs[settings_.input] = Pictures(first, count, pass).to(device_, /*non_blocking=*/true);
  batch.target = OnDevice(set_.labels.index_select(0, order_.narrow(0, first, count)), device_);
  return batch;
}

}  // namespace torchvid
