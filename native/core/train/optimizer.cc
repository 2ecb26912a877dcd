#include "core/train/optimizer.h"

#include <c10/core/GradMode.h>

#include <tuple>

#include "core/error.h"

namespace torchvid {

namespace {

/// As PyTorch's clip_grad_norm_ has it.
constexpr double kClipEpsilon = 1e-6;

}  // namespace

bool MatchesPattern(const std::string& pattern, const std::string& text) {
  size_t p = 0;
  size_t t = 0;
  size_t star = std::string::npos;
  size_t resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p;
      ++t;
    } else if (star != std::string::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

Optimizer::Optimizer(const Network& network, OptimizerSettings settings) : settings_(std::move(settings)) {
  for (const auto& group : settings_.groups)
    groups_.push_back({group.learning_rate, group.weight_decay, {}, {}, {}, {}, {}, {}});
  for (const auto& entry : network.entries()) {
    if (!entry.trainable) continue;
    for (size_t g = 0; g < groups_.size(); ++g) {
      if (!MatchesPattern(settings_.groups[g].pattern, entry.name)) continue;
      if (groups_[g].learning_rate == 0) break;
      entry.tensor.set_requires_grad(true);
      groups_[g].names.push_back(entry.name);
      groups_[g].parameters.push_back(entry.tensor);
      groups_[g].first.push_back(at::zeros_like(entry.tensor));
      if (IsAdam()) groups_[g].second.push_back(at::zeros_like(entry.tensor));
      groups_[g].steps.push_back(at::zeros({}, entry.tensor.options()));
      all_.emplace_back(entry.name, entry.tensor);
      break;
    }
  }
  if (all_.empty())
    throw InvalidArgument("No parameter is left to train: every one is frozen or has a learning rate of 0.");
}

void Optimizer::Step(double factor) {
  c10::NoGradGuard no_grad;
  if (settings_.clip > 0) ClipGradients();
  for (auto& group : groups_) {
    if (!group.parameters.empty()) StepGroup(group, factor);
  }
  ClearGradients(false);
}

void Optimizer::ClearGradients(bool in_place) {
  c10::NoGradGuard no_grad;
  if (in_place) {
    const auto gradients = Gradients();
    if (!gradients.empty()) at::_foreach_zero_(gradients);
    return;
  }
  for (auto& [name, tensor] : all_) tensor.mutable_grad().reset();
}

TensorList Optimizer::Gradients() const {
  TensorList gradients;
  for (const auto& [name, tensor] : all_) {
    if (tensor.grad().defined()) gradients.push_back(tensor.grad());
  }
  return gradients;
}

void Optimizer::ClipGradients() {
  const auto gradients = Gradients();
  if (gradients.empty()) return;
  const auto norm = at::stack(at::_foreach_norm(gradients, 2)).norm().item<double>();
  if (norm > settings_.clip) at::_foreach_mul_(gradients, settings_.clip / (norm + kClipEpsilon));
}

void Optimizer::ClipGradientsOnDevice() {
  const auto gradients = Gradients();
  if (gradients.empty()) return;
  const auto norm = at::stack(at::_foreach_norm(gradients, 2)).norm();
  const auto scale = (norm + kClipEpsilon).reciprocal().mul_(settings_.clip).clamp_max_(1);
  at::_foreach_mul_(gradients, scale);
}

Optimizer::Moved Optimizer::GatherMoved(const Group& group) {
  // Parameters that no output reached have no gradient and stay as they are, as in PyTorch.
  Moved moved;
  for (size_t i = 0; i < group.parameters.size(); ++i) {
    const auto& gradient = group.parameters[i].grad();
    if (!gradient.defined()) continue;
    moved.parameters.push_back(group.parameters[i]);
    moved.gradients.push_back(gradient.contiguous(group.parameters[i].suggest_memory_format()));
    moved.first.push_back(group.first[i]);
    if (!group.second.empty()) moved.second.push_back(group.second[i]);
    moved.steps.push_back(group.steps[i]);
  }
  return moved;
}

void Optimizer::StepGroup(Group& group, double factor) {
  auto [parameters, gradients, first, second, steps] = GatherMoved(group);
  if (parameters.empty()) return;
  const double rate = group.learning_rate * factor;
  if (IsAdam()) {
    at::_foreach_add_(steps, 1);
    const auto& [beta1, beta2, epsilon] = std::tie(settings_.beta1, settings_.beta2, settings_.epsilon);
    if (settings_.kind == OptimizerSettings::Kind::kAdamW) {
      at::_fused_adamw_(parameters, gradients, first, second, {}, steps, rate, beta1, beta2,
                        group.weight_decay, epsilon, false, false);
    } else {
      at::_fused_adam_(parameters, gradients, first, second, {}, steps, rate, beta1, beta2,
                       group.weight_decay, epsilon, false, false);
    }
    return;
  }
  if (settings_.kind == OptimizerSettings::Kind::kAdagrad) {
    at::_foreach_add_(steps, 1);
    if (group.weight_decay > 0) gradients = at::_foreach_add(gradients, parameters, group.weight_decay);
    at::_foreach_addcmul_(first, gradients, gradients, 1);
    auto spread = at::_foreach_sqrt(first);
    at::_foreach_add_(spread, settings_.epsilon);
    at::_foreach_addcdiv_(parameters, gradients, spread, -rate);
    return;
  }
  const bool first_step = steps[0].item<float>() == 0;
  at::_foreach_add_(steps, 1);
  at::_fused_sgd_(parameters, gradients, settings_.momentum > 0 ? first : TensorList{}, group.weight_decay,
                  settings_.momentum, rate, 0, settings_.nesterov, false, first_step);
}

void Optimizer::SetRates(double factor) {
  c10::NoGradGuard no_grad;
  for (auto& group : groups_) {
    if (group.parameters.empty()) continue;
    if (!group.rate.defined()) group.rate = at::empty({}, group.parameters[0].options());
    group.rate.fill_(group.learning_rate * factor);
  }
}

void Optimizer::StepOnDevice(const at::Tensor& skip) {
  c10::NoGradGuard no_grad;
  if (settings_.clip > 0) ClipGradientsOnDevice();
  for (auto& group : groups_) {
    if (!group.parameters.empty()) StepGroupOnDevice(group, skip);
  }
}

void Optimizer::StepGroupOnDevice(Group& group, const at::Tensor& skip) {
  auto [parameters, gradients, first, second, steps] = GatherMoved(group);
  if (parameters.empty()) return;
  at::_foreach_add_(steps, 1);
  const auto& [beta1, beta2, epsilon] = std::tie(settings_.beta1, settings_.beta2, settings_.epsilon);
  switch (settings_.kind) {
    case OptimizerSettings::Kind::kAdamW:
      at::_fused_adamw_(parameters, gradients, first, second, {}, steps, group.rate, beta1, beta2,
                        group.weight_decay, epsilon, false, false, {}, skip);
      return;
    case OptimizerSettings::Kind::kAdam:
      at::_fused_adam_(parameters, gradients, first, second, {}, steps, group.rate, beta1, beta2,
                       group.weight_decay, epsilon, false, false, {}, skip);
      return;
    case OptimizerSettings::Kind::kSgd:
      // The first step is as any other: momentum begins with zeros.
      at::_fused_sgd_(parameters, gradients, settings_.momentum > 0 ? first : TensorList{},
                      group.weight_decay, settings_.momentum, group.rate, 0, settings_.nesterov, false, false,
                      {}, skip);
      return;
    case OptimizerSettings::Kind::kAdagrad:
      break;
  }
  if (group.weight_decay > 0) gradients = at::_foreach_add(gradients, parameters, group.weight_decay);
  const auto skipped = skip.gt(0);
  for (auto& gradient : gradients) gradient = at::where(skipped, 0, gradient);
  at::_foreach_addcmul_(first, gradients, gradients, 1);
  auto spread = at::_foreach_sqrt(first);
  at::_foreach_add_(spread, settings_.epsilon);
  auto moves = at::_foreach_div(gradients, spread);
  at::_foreach_mul_(moves, group.rate);
  at::_foreach_sub_(parameters, moves);
}

std::vector<std::pair<std::string, at::Tensor>> Optimizer::State() const {
  std::vector<std::pair<std::string, at::Tensor>> state;
  for (const auto& group : groups_) {
    for (size_t i = 0; i < group.names.size(); ++i) {
      state.emplace_back("first." + group.names[i], group.first[i]);
      if (!group.second.empty()) state.emplace_back("second." + group.names[i], group.second[i]);
      state.emplace_back("steps." + group.names[i], group.steps[i]);
    }
  }
  return state;
}

void Optimizer::Restore(const TensorMap& state) {
  c10::NoGradGuard no_grad;
  for (auto& [name, tensor] : State()) {
    const auto saved = state.find(name);
    if (saved == state.end() || saved->second.sizes() != tensor.sizes()) {
      throw Error("ERR_CHECKPOINT_MISMATCH",
                  "The checkpoint has no fitting '" + name + "': it belongs to another training.");
    }
    tensor.copy_(saved->second);
  }
}

}  // namespace torchvid
