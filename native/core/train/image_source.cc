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

std::vector<Placement> Placements(const ImageSourceSettings& settings, int64_t count, int64_t pass) {
  if (!settings.augment) return std::vector<Placement>(static_cast<size_t>(count));
  return Draw(*settings.augment, count, GeneratorFor(settings.seed, Stream::kAugment, pass));
}

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

/// Of the device's free memory, what a set may take.
constexpr int64_t kShare = 4;

}  // namespace

/// A set on the device, and what picking from it takes.
struct ResidentSet {
  ResidentSet(const ImageSet& set, const std::vector<float>& table, at::Device device)
      : images(OnDevice(set.images, device)), labels(OnDevice(set.labels, device)) {
    const auto channels = set.images.size(1);
    const auto numbers = [&](int64_t count, at::IntArrayRef shape) {
      return OnDevice(at::arange(count, at::kLong), device).view(shape);
    };
    values = OnDevice(at::tensor(table, at::kFloat).view({channels, kBytes}), device);
    channel = numbers(channels, {1, -1, 1, 1});
    row = numbers(set.images.size(2), {1, 1, -1, 1});
    column = numbers(set.images.size(3), {1, 1, 1, -1});
  }

  /// Picks (n, 4): which image, the crop's top and left, whether it is flipped.
  at::Tensor Pictures(const at::Tensor& picks) const {
    const auto of_each = [&](int64_t i) { return picks.select(1, i).view({-1, 1, 1, 1}); };
    const auto last_row = row.numel() - 1;
    const auto last_column = column.numel() - 1;
    const auto y = row + of_each(1);
    const auto x = at::where(of_each(3).ne(0), last_column - column, column) + of_each(2);
    const auto inside =
        y.ge(0).logical_and(y.le(last_row)).logical_and(x.ge(0)).logical_and(x.le(last_column));
    const auto bytes =
        images.index({of_each(0), channel, y.clamp(0, last_row), x.clamp(0, last_column)}).to(at::kLong);
    return at::where(inside, values.index({channel, bytes}), values.select(1, 0).view({1, -1, 1, 1}));
  }

  at::Tensor images;
  at::Tensor labels;
  at::Tensor values;  // (C, 256): what each byte becomes
  at::Tensor channel;
  at::Tensor row;
  at::Tensor column;
};

ImageSource::ImageSource(ImageSet set, ImageSourceSettings settings, at::Device device)
    : set_(std::move(set)), settings_(std::move(settings)), device_(device) {
  for (size_t c = 0; c < set_.mean.size(); ++c) {
    // Single precision and in this order, as ToTensor and Normalize compute it.
    const auto mean = static_cast<float>(set_.mean[c]);
    const auto std = static_cast<float>(set_.std[c]);
    for (int64_t byte = 0; byte < kBytes; ++byte)
      table_.push_back((static_cast<float>(byte) / 255.0F - mean) / std);
  }
  const auto bytes = static_cast<int64_t>(set_.images.nbytes());
  if (!device.is_cpu() && bytes <= FreeMemory(device) / kShare)
    resident_ = std::make_shared<const ResidentSet>(set_, table_, device);
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
  const auto placements = Placements(settings_, count, pass);
  const auto size = shape.channels * shape.height * shape.width;
  const auto* source = images.const_data_ptr<uint8_t>();
  const auto* order = order_.const_data_ptr<int64_t>() + first;
  auto* out = batch.mutable_data_ptr<float>();
  for (int64_t i = 0; i < count; ++i)
    Place(source + order[i] * size, table_.data(), placements[static_cast<size_t>(i)], shape, out + i * size);
  return settings_.flat ? batch.view({count, size}) : batch;
}

Batch ImageSource::Picks(int64_t first, int64_t count, int64_t pass) const {
  auto picks = at::empty({count, 4}, at::kLong);
  auto* out = picks.mutable_data_ptr<int64_t>();
  const auto* order = order_.const_data_ptr<int64_t>() + first;
  for (const auto& [top, left, flip] : Placements(settings_, count, pass)) {
    for (const auto value : {*order++, top, left, static_cast<int64_t>(flip)}) *out++ = value;
  }
  Batch batch{{{"picks", picks}}, {}};
  batch.finish = [set = resident_, input = settings_.input,
                  flat = settings_.flat](const Batch& drawn) -> Batch {
    const auto chosen = OnDevice(drawn.inputs.at("picks"), set->images.device());
    const auto pictures = set->Pictures(chosen);
    return {{{input, flat ? pictures.flatten(1) : pictures}},
            set->labels.index_select(0, chosen.select(1, 0))};
  };
  return batch;
}

Batch ImageSource::Next(int64_t pass, const at::Generator&) {
  SetOrder(pass / passes_per_epoch());
  const auto first = pass % passes_per_epoch() * settings_.batch_size;
  const auto count = std::min(settings_.batch_size, images() - first);
  if (resident_) return Picks(first, count, pass);
  Batch batch;
  batch.inputs[settings_.input] = Pictures(first, count, pass).to(device_, /*non_blocking=*/true);
  batch.target = OnDevice(set_.labels.index_select(0, order_.narrow(0, first, count)), device_);
  return batch;
}

}  // namespace torchvid
