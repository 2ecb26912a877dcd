#include "core/train/propagation_objective.h"

#include <algorithm>

namespace torchvid {

namespace {

/// Keeps Dice steady for small objects, in pixels.
constexpr double kDiceSmoothing = 50;

/// What frames of one clip add to the loss.
struct Score {
  at::Tensor cross_entropy;
  at::Tensor dice;
  at::Tensor jaccard;
};

/// Logits and target (1, 1, H, W).
Score ScoreOf(const at::Tensor& logits, const at::Tensor& target) {
  const auto losses =
      at::binary_cross_entropy_with_logits(logits, target, {}, {}, at::Reduction::None).flatten();
  const auto hardest = std::get<0>(losses.topk(std::max<int64_t>(losses.numel() / 4, 1)));
  const auto p = logits.sigmoid();
  const auto dice = (2 * (p * target).sum() + kDiceSmoothing) / (p.sum() + target.sum() + kDiceSmoothing);
  const auto found = logits.detach().gt(0);
  const auto wanted = target.ge(0.5);
  const auto jaccard = found.logical_and(wanted).sum() / (found.logical_or(wanted).sum() + 1e-6);
  return {hardest.mean(), 1 - dice, jaccard};
}

at::Tensor Mean(const TensorList& values) { return at::stack(values).mean(); }

}  // namespace

PropagationObjective::PropagationObjective(const Network& network, Graph encoder, Graph decoder)
    : matcher_{network.View(std::move(encoder)), network.View(std::move(decoder))} {}

namespace {

/// What the encoder made of clips: per frame of a clip, for all of them.
struct EncodedClips {
  std::vector<TensorList> keys;     // [frame][clip], (h, w, C)
  std::vector<TensorMap> features;  // [frame], (clips, ...)
};

EncodedClips EncodeClips(const Matcher& matcher, const at::Tensor& images, const RunContext& context) {
  const auto frames = static_cast<size_t>(images.size(1));
  const auto outputs = matcher.encoder->Forward({{"image", images.flatten(0, 1)}}, {}, context);
  EncodedClips encoded;
  encoded.features.resize(frames);
  for (const auto& [name, value] : outputs) {
    // Taken apart in one go: each slice by itself would cost a gradient of the whole.
    const auto by_frame = value.unflatten(0, {images.size(0), images.size(1)}).unbind(1);
    for (size_t t = 0; t < frames; ++t) {
      if (name == "key") {
        encoded.keys.push_back(by_frame[t].permute({0, 2, 3, 1}).contiguous().unbind(0));
      } else {
        encoded.features[t][name] = by_frame[t];
      }
    }
  }
  return encoded;
}

at::Tensor Rows(const at::Tensor& keys) { return keys.reshape({-1, keys.size(2)}); }

/// One clip's way: what is known before a frame's turn.
struct Following {
  Reference first;
  TensorList memory_keys;
  TensorList memory_labels;
  at::Tensor labels;  // (1, h, w), of the previous frame
};

}  // namespace

Loss PropagationObjective::Run(Network&, const Batch& batch, const PassContext& context) {
  const RunContext training{true, context.generator};
  const auto& images = batch.inputs.at("image");
  const auto clips = static_cast<size_t>(images.size(0));
  const auto encoded = EncodeClips(matcher_, images, training);
  std::vector<Following> following(clips);
  const auto given = CellLabels(batch.target.select(1, 0)).unbind(0);
  const auto previous = CellLabels(batch.inputs.at("previous")).unbind(0);
  for (size_t clip = 0; clip < clips; ++clip) {
    auto& state = following[clip];
    state.first = MakeReference(Rows(encoded.keys[0][clip]), given[clip].view({1, -1}));
    state.labels = previous[clip].unsqueeze(0);
  }
  TensorList cross_entropy;
  TensorList dice;
  TensorList jaccard;
  for (size_t t = 2; t < encoded.keys.size(); ++t) {
    TensorList cues;
    for (size_t clip = 0; clip < clips; ++clip) {
      auto& state = following[clip];
      state.memory_keys.push_back(Rows(encoded.keys[t - 1][clip]));
      state.memory_labels.push_back(state.labels.flatten(1));
      const auto memory = MakeReference(at::cat(state.memory_keys), at::cat(state.memory_labels, 1));
      cues.push_back(
          CuesOf(encoded.keys[t][clip], {state.first, memory, encoded.keys[t - 1][clip], state.labels}));
    }
    auto inputs = encoded.features[t];
    inputs["cues"] = at::cat(cues);
    const auto logits = matcher_.decoder->Forward(inputs, {"logits"}, training).at("logits").to(at::kFloat);
    const auto found = logits.split(1);
    const auto wanted = batch.target.select(1, static_cast<int64_t>(t)).split(1);
    const auto labels = CellLabels(logits.detach().sigmoid()).unbind(0);
    for (size_t clip = 0; clip < clips; ++clip) {
      auto score = ScoreOf(found[clip], wanted[clip]);
      cross_entropy.push_back(std::move(score.cross_entropy));
      dice.push_back(std::move(score.dice));
      jaccard.push_back(std::move(score.jaccard));
      following[clip].labels = labels[clip].unsqueeze(0);
    }
  }
  Loss loss;
  const auto hardest = Mean(cross_entropy);
  const auto overlap = Mean(dice);
  loss.total = hardest + overlap;
  loss.parts = {
      {"crossEntropy", hardest.detach()}, {"dice", overlap.detach()}, {"jaccard", Mean(jaccard).detach()}};
  return loss;
}

}  // namespace torchvid
