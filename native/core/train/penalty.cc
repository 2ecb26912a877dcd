#include "core/train/penalty.h"

#include <c10/core/GradMode.h>

#include "core/error.h"

namespace torchvid {

L1Penalty::L1Penalty(const Network& network, const std::vector<std::string>& names, double strength)
    : strength_(strength) {
  for (const auto& name : names) parameters_.push_back(network.entry(name).tensor);
}

void L1Penalty::AddGradients() const {
  c10::NoGradGuard no_grad;
  TensorList parameters;
  TensorList gradients;
  for (const auto& parameter : parameters_) {
    if (!parameter.grad().defined()) continue;
    parameters.push_back(parameter);
    gradients.push_back(parameter.grad());
  }
  if (!parameters.empty()) at::_foreach_add_(gradients, at::_foreach_sign(parameters), strength_);
}

HeldChannels::HeldChannels(const Network& network, const std::vector<Keep>& keeps) {
  for (const auto& [name, keep] : keeps) {
    const auto& parameter = network.entry(name).tensor;
    if (parameter.dim() == 0 || parameter.size(0) != keep.size(0)) {
      throw ShapeError("masks: '" + name + "' has shape " + ShapeText(parameter.sizes()) + ", its mask has " +
                       std::to_string(keep.size(0)) + " entries; wanted one per channel.");
    }
    std::vector<int64_t> per_row(static_cast<size_t>(parameter.dim()), 1);
    per_row[0] = -1;
    held_.push_back({parameter, keep.logical_not().view(per_row).to(parameter.device())});
  }
}

void HeldChannels::ClearValues() const {
  c10::NoGradGuard no_grad;
  for (const auto& [parameter, dropped] : held_) parameter.masked_fill_(dropped, 0);
}

void HeldChannels::ClearGradients() const {
  c10::NoGradGuard no_grad;
  for (const auto& [parameter, dropped] : held_) {
    if (parameter.grad().defined()) parameter.mutable_grad().masked_fill_(dropped, 0);
  }
}

}  // namespace torchvid
