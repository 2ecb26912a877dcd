#include "core/train/objective.h"

namespace torchvid {

std::vector<std::string> ClassBalancedObjective::Outputs() const {
  std::vector<std::string> names;
  for (const auto& [name, weight] : weights_) names.push_back(name);
  return names;
}

Loss ClassBalancedObjective::Compute(const TensorMap& outputs, const at::Tensor& target) const {
  Loss loss;
  for (const auto& [name, weight] : weights_) {
    const auto part = ClassBalancedCrossEntropy(outputs.at(name), target, reduction_);
    loss.parts.emplace_back(name, part.item<double>());
    const auto weighted = weight == 1 ? part : part * weight;
    loss.total = loss.total.defined() ? loss.total + weighted : weighted;
  }
  return loss;
}

}  // namespace torchvid
