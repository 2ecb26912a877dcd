#include "core/train/objective.h"

#include <c10/core/GradMode.h>

#include <algorithm>

#include "core/error.h"

namespace torchvid {

namespace {

/// Keeps the imitation of a constant output finite.
constexpr double kLeastVariance = 1e-12;

std::vector<std::string> NamesOf(const OutputWeights& weights) {
  std::vector<std::string> names;
  for (const auto& [name, weight] : weights) names.push_back(name);
  return names;
}

/// Adds one output's share to `loss`.
void AddPart(Loss* loss, const std::string& name, const at::Tensor& part, double weight) {
  loss->parts.emplace_back(name, part.detach());
  const auto weighted = weight == 1 ? part : part * weight;
  loss->total = loss->total.defined() ? loss->total + weighted : weighted;
}

}  // namespace

Loss OutputObjective::Run(Network& network, const Batch& batch, const PassContext& context) {
  auto outputs = network.Forward(batch.inputs, Outputs(), {true, context.generator});
  for (auto& [name, tensor] : outputs) tensor = tensor.to(at::kFloat);
  return Compute(outputs, batch, context);
}

std::vector<std::string> ClassBalancedObjective::Outputs() const { return NamesOf(weights_); }

Loss ClassBalancedObjective::Compute(const TensorMap& outputs, const Batch& batch,
                                     const PassContext& context) const {
  Loss loss;
  for (const auto& [name, weight] : weights_) {
    AddPart(&loss, name, ClassBalancedCrossEntropy(outputs.at(name), batch.target, reduction_),
            WeightOf(name, weight, context));
  }
  return loss;
}

double ClassBalancedObjective::WeightOf(const std::string& output, double weight,
                                        const PassContext& context) const {
  const auto& fading = fading_.outputs;
  if (std::find(fading.begin(), fading.end(), output) == fading.end()) return weight;
  const auto share = static_cast<double>(PeriodOf(context)) / static_cast<double>(fading_.periods);
  return weight * std::max(0.0, 1 - share);
}

int64_t ClassBalancedObjective::PeriodOf(const PassContext& context) const {
  return std::min(context.pass / fading_.every, fading_.periods);
}

std::optional<std::string> ClassBalancedObjective::RecordingKey(const PassContext& context) const {
  return fading_.outputs.empty() ? "" : "period " + std::to_string(PeriodOf(context));
}

Loss CrossEntropyObjective::Compute(const TensorMap& outputs, const Batch& batch, const PassContext&) const {
  const auto& logits = outputs.at(output_);
  Loss loss;
  AddPart(&loss, "crossEntropy", at::cross_entropy_loss(logits, batch.target), 1);
  loss.accuracy =
      CorrectClasses(logits, batch.target).to(at::kDouble) / static_cast<double>(batch.target.size(0));
  return loss;
}

std::vector<std::string> ImitateObjective::Outputs() const { return NamesOf(weights_); }

Loss ImitateObjective::Compute(const TensorMap& outputs, const Batch& batch, const PassContext&) const {
  TensorMap wanted;
  {
    c10::NoGradGuard no_grad;
    wanted = teacher_->Forward(batch.inputs, NamesOf(weights_), {});
  }
  Loss loss;
  for (const auto& [name, weight] : weights_) {
    const auto target = wanted.at(name).to(at::kFloat);
    const auto& output = outputs.at(name);
    if (output.sizes() != target.sizes()) {
      throw ShapeError("teacher: its output '" + name + "' has shape " + ShapeText(target.sizes()) +
                       ", that of the network in training " + ShapeText(output.sizes()) + ".");
    }
    const auto variance = at::var(target, false).clamp_min(kLeastVariance);
    AddPart(&loss, name, at::mse_loss(output, target) / variance, weight);
  }
  return loss;
}

Loss RtfmObjective::Compute(const TensorMap& outputs, const Batch& batch, const PassContext& context) const {
  const auto part = [&](int64_t first, int64_t count) {
    const auto of = [&](const char* name) { return outputs.at(name).narrow(0, first, count); };
    return RtfmOutputs{of("scores"), of("magnitudes"), of("features")};
  };
  const auto abnormal = batch.target.size(0) - batch.normal;
  return RtfmLoss(part(batch.normal, abnormal), part(0, batch.normal), settings_, context.generator);
}

Loss MilRankingObjective::Compute(const TensorMap& outputs, const Batch& batch, const PassContext&) const {
  const auto& scores = outputs.at("scores");
  const auto abnormal = batch.target.size(0) - batch.normal;
  return MilRankingLoss(scores.narrow(0, batch.normal, abnormal), scores.narrow(0, 0, batch.normal),
                        settings_);
}

}  // namespace torchvid
