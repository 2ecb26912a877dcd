#include "core/matching/propagation.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace torchvid {

namespace {

/// The coarsest map's stride: sides are multiples of it.
constexpr int64_t kStride = 16;
/// The stride of keys and cues.
constexpr int64_t kCell = 8;

at::Tensor Mirrored(const at::Tensor& x, bool mirror) { return mirror ? x.flip(-1) : x; }

/// (h, w, C) -> (h * w, C)
at::Tensor Rows(const at::Tensor& keys) { return keys.reshape({-1, keys.size(2)}); }

/// Where objects claim the same pixel, the stronger claim weakens the others: logits (objects, H, W) ->
/// probabilities that sum to at most 1 with the background (soft aggregation, Oh et al., ICCV 2019).
at::Tensor Aggregated(const at::Tensor& logits) {
  if (logits.size(0) == 1) return logits.sigmoid();
  const auto p = logits.sigmoid().clamp(1e-7, 1 - 1e-7);
  const auto background = at::prod(1 - p, 0, true).clamp(1e-7, 1 - 1e-7);
  const auto odds = at::cat({background / (1 - background), p / (1 - p)});
  return (odds / odds.sum(0, true)).slice(0, 1);
}

EncodedFrame Encode(const Matcher& matcher, const at::Tensor& image) {
  auto outputs = matcher.encoder->Forward({{"image", image}}, {}, {});
  EncodedFrame frame;
  frame.keys = outputs.at("key").squeeze(0).permute({1, 2, 0}).contiguous();
  outputs.erase("key");
  frame.features = std::move(outputs);
  return frame;
}

/// The logits of each object, (objects, 1, H, W).
at::Tensor Decode(const Matcher& matcher, const EncodedFrame& frame, const Past& past) {
  auto inputs = frame.features;
  inputs["cues"] = CuesOf(frame.keys, past);
  const auto objects = inputs["cues"].size(0);
  for (auto& [name, value] : inputs) value = value.expand({objects, -1, -1, -1});
  return matcher.decoder->Forward(inputs, {"logits"}, {}).at("logits");
}

}  // namespace

at::Tensor CellLabels(const at::Tensor& masks) { return at::avg_pool2d(masks, {kCell, kCell}).squeeze(1); }

at::Tensor CuesOf(const at::Tensor& keys, const Past& past) {
  const auto objects = past.previous_labels.size(0);
  const auto query = Rows(keys);
  const auto first = Similarities(query, past.first);
  const auto memory = &past.memory == &past.first ? first : Similarities(query, past.memory);
  const auto cues =
      at::cat({first, memory, LocalSimilarities(keys, past.previous_keys, past.previous_labels, kWindow),
               past.previous_labels.reshape({objects, 1, -1})},
              1);
  return cues.view({objects, cues.size(1), keys.size(0), keys.size(1)});
}

Propagation::Propagation(Matcher matcher, PropagationSettings settings, const at::Tensor& rgb,
                         const at::Tensor& mask, std::vector<int64_t> ids)
    : matcher_(std::move(matcher)),
      settings_(settings),
      ids_(std::move(ids)),
      size_(SizeFor(rgb)),
      first_(rgb) {
  std::vector<at::Tensor> masks;
  for (const auto id : ids_) masks.push_back(mask.eq(id));
  const auto device = matcher_.encoder->device();
  const auto given = at::stack(masks).unsqueeze(1).to(device).to(at::kFloat);
  given_ = given.squeeze(1);
  const auto scaled = at::_upsample_bilinear2d_aa(given, {size_[0], size_[1]}, false);
  const auto image = ToNetwork(rgb, settings_.format, size_, device);
  for (const bool mirror : {false, true}) {
    if (mirror && !settings_.flip) break;
    View view;
    view.previous_keys = Encode(matcher_, Mirrored(image, mirror)).keys;
    view.previous_labels = CellLabels(Mirrored(scaled, mirror));
    view.first = MakeReference(Rows(view.previous_keys), view.previous_labels.flatten(1));
    views_.push_back(std::move(view));
  }
}

std::array<int64_t, 2> Propagation::SizeFor(const at::Tensor& rgb) const {
  const auto shorter = std::min(rgb.size(0), rgb.size(1));
  const auto longer = std::max(rgb.size(0), rgb.size(1));
  double scale = std::min(1.0, static_cast<double>(settings_.side) / static_cast<double>(shorter));
  if (settings_.max_size > 0)
    scale = std::min(scale, static_cast<double>(settings_.max_size) / static_cast<double>(longer));
  const auto side = [&](int64_t pixels) {
    const auto cells = std::lround(static_cast<double>(pixels) * scale / kStride);
    return std::max<int64_t>(cells, 1) * kStride;
  };
  return {side(rgb.size(0)), side(rgb.size(1))};
}

void Propagation::Remember(View* view) const {
  auto& frames = view->remembered;
  frames.emplace_back(Rows(view->previous_keys), view->previous_labels.flatten(1));
  if (static_cast<int64_t>(frames.size()) > settings_.memory_size) frames.pop_front();
  std::vector<at::Tensor> keys;
  std::vector<at::Tensor> labels;
  for (const auto& [key, label] : frames) {
    keys.push_back(key);
    labels.push_back(label);
  }
  view->memory = MakeReference(at::cat(keys), at::cat(labels, 1));
}

Segmentation Propagation::Named(const at::Tensor& probabilities) const {
  const auto [probability, object] = probabilities.max(0);
  const auto numbers = at::tensor(ids_, at::kLong).to(object.device()).index_select(0, object.flatten());
  const auto mask =
      numbers.view(object.sizes()).to(at::kByte).masked_fill(probability.lt(settings_.threshold), 0);
  return {mask.cpu(), probability.contiguous().cpu()};
}

Segmentation Propagation::Next(const at::Tensor& rgb) {
  if (first_.defined()) {
    if (rgb.sizes() == first_.sizes() && rgb.equal(first_)) return Named(given_);
    first_.reset();
    given_.reset();
  }
  const auto size = SizeFor(rgb);
  if (size != size_) {
    throw ShapeError("A video's frames are of one shape: the first is processed at " +
                     std::to_string(size_[1]) + " x " + std::to_string(size_[0]) + ", this one would be at " +
                     std::to_string(size[1]) + " x " + std::to_string(size[0]) + ".");
  }
  const auto image = ToNetwork(rgb, settings_.format, size_, matcher_.encoder->device());
  at::Tensor logits;
  for (size_t i = 0; i < views_.size(); ++i) {
    const bool mirror = i == 1;
    auto& view = views_[i];
    const auto frame = Encode(matcher_, Mirrored(image, mirror));
    const auto& memory = view.remembered.empty() ? view.first : view.memory;
    const auto seen = Decode(matcher_, frame, {view.first, memory, view.previous_keys, view.previous_labels});
    view.previous_keys = frame.keys;
    const auto upright = Mirrored(seen, mirror);
    logits = logits.defined() ? logits + upright : upright;
  }
  logits = logits / static_cast<double>(views_.size());
  const auto probabilities = Aggregated(logits.squeeze(1));
  ++index_;
  for (size_t i = 0; i < views_.size(); ++i) {
    views_[i].previous_labels = CellLabels(Mirrored(probabilities, i == 1).unsqueeze(1));
    if (index_ % settings_.memory_every == 0) Remember(&views_[i]);
  }
  if (size_[0] == rgb.size(0) && size_[1] == rgb.size(1)) return Named(probabilities);
  const auto large = at::upsample_bilinear2d(logits, {rgb.size(0), rgb.size(1)}, false);
  return Named(Aggregated(large.squeeze(1)));
}

}  // namespace torchvid
