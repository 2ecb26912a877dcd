#include "core/train/trainer.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/autocast_mode.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numbers>
#include <sstream>

#include "core/torch_error.h"

namespace torchvid {

namespace {

/// Runs convolutions and products in bfloat16 while it lives.
class AutocastScope {
 public:
  AutocastScope(bool enabled, at::DeviceType device) : enabled_(enabled), device_(device) {
    if (!enabled_) return;
    at::autocast::set_autocast_enabled(device_, true);
    at::autocast::set_autocast_dtype(device_, at::kBFloat16);
    at::autocast::increment_nesting();
  }
  ~AutocastScope() {
    if (!enabled_) return;
    if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(device_, false);
  }
  AutocastScope(const AutocastScope&) = delete;
  AutocastScope& operator=(const AutocastScope&) = delete;

 private:
  bool enabled_;
  at::DeviceType device_;
};

}  // namespace

Trainer::Trainer(std::shared_ptr<Network> network, std::unique_ptr<Source> source,
                 std::unique_ptr<Objective> objective, TrainerSettings settings)
    : network_(std::move(network)),
      source_(std::move(source)),
      objective_(std::move(objective)),
      settings_(std::move(settings)),
      optimizer_(*network_, settings_.optimizer),
      held_(*network_, settings_.held),
      generator_(at::make_generator<at::CPUGeneratorImpl>(settings_.seed)) {
  if (settings_.sparsity > 0) penalty_ = L1Penalty(*network_, settings_.sparse, settings_.sparsity);
  held_.ClearValues();
}

Trainer::~Trainer() {
  for (const auto& [name, tensor] : optimizer_.parameters()) {
    tensor.mutable_grad().reset();
    tensor.set_requires_grad(false);
  }
  network_->Touch();
}

double Trainer::RateFactor() const {
  if (step_ < settings_.warmup) return static_cast<double>(step_ + 1) / static_cast<double>(settings_.warmup);
  switch (settings_.schedule) {
    case TrainerSettings::Schedule::kConstant:
      return 1;
    case TrainerSettings::Schedule::kCosine: {
      const auto length = std::max<int64_t>(settings_.passes - settings_.warmup, 1);
      const double progress = static_cast<double>(step_ - settings_.warmup) / static_cast<double>(length);
      return (1 + std::cos(std::numbers::pi * progress)) / 2;
    }
    case TrainerSettings::Schedule::kSteps: {
      const auto& milestones = settings_.milestones;
      const auto passed = [&](int64_t milestone) { return step_ >= milestone; };
      const auto count = std::count_if(milestones.begin(), milestones.end(), passed);
      return std::pow(settings_.factor, static_cast<double>(count));
    }
  }
  return 1;
}

double Trainer::BaseRate() const {
  for (const auto& group : settings_.optimizer.groups) {
    if (group.learning_rate > 0) return group.learning_rate;
  }
  return 0;
}

StepRecord Trainer::Step() {
  const auto start = std::chrono::steady_clock::now();
  const double factor = RateFactor();
  StepRecord record;
  try {
    const auto batch = source_->Next(step_, generator_);
    c10::AutoGradMode gradients(true);
    Loss loss;
    {
      AutocastScope autocast(settings_.bfloat16, network_->device().type());
      loss = objective_->Run(*network_, batch, {generator_, step_, settings_.passes});
    }
    record.loss = loss.total.item<double>();
    record.losses = std::move(loss.parts);
    record.accuracy = loss.accuracy;
    if (!std::isfinite(record.loss)) {
      std::ostringstream message;
      message << "The loss became " << record.loss << " at step " << step_ + 1 << " of " << settings_.passes
              << ". Lower the learning rate, and check that the weights that were loaded fit the network.";
      throw Error("ERR_NOT_FINITE", message.str());
    }
    (loss.total / static_cast<double>(settings_.accumulate)).backward();
  } catch (const c10::Error& error) {
    throw FromTorch(error, "Training step " + std::to_string(step_ + 1), "ERR_SHAPE");
  }
  ++step_;
  // The last updates may stand on fewer passes than `accumulate`: a smaller step, but no pass is lost.
  if (step_ % settings_.accumulate == 0 || complete()) Update(factor);
  record.step = step_;
  record.learning_rate = BaseRate() * factor;
  record.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return record;
}

void Trainer::Update(double factor) {
  penalty_.AddGradients();
  held_.ClearGradients();
  optimizer_.Step(factor);
}

std::vector<std::pair<std::string, at::Tensor>> Trainer::State() const {
  std::vector<std::pair<std::string, at::Tensor>> state;
  for (const auto& entry : network_->entries()) state.emplace_back(entry.name, entry.tensor.detach());
  for (const auto& [name, tensor] : optimizer_.State())
    state.emplace_back("torchvid.optimizer." + name, tensor);
  for (const auto& [name, tensor] : optimizer_.parameters()) {
    if (tensor.grad().defined()) state.emplace_back("torchvid.gradient." + name, tensor.grad());
  }
  state.emplace_back("torchvid.random", generator_.get_state());
  return state;
}

void Trainer::Restore(const TensorMap& state, int64_t step) {
  c10::NoGradGuard no_grad;
  const auto find = [&](const std::string& name) -> const at::Tensor* {
    const auto found = state.find(name);
    return found == state.end() ? nullptr : &found->second;
  };
  const auto mismatch = [](const std::string& name) {
    return Error("ERR_CHECKPOINT_MISMATCH",
                 "The checkpoint has no fitting '" + name + "': it belongs to another network or training.");
  };
  for (const auto& entry : network_->entries()) {
    const auto* saved = find(entry.name);
    if (saved == nullptr || saved->sizes() != entry.tensor.sizes()) throw mismatch(entry.name);
    entry.tensor.copy_(*saved);
  }
  held_.ClearValues();
  TensorMap optimizer;
  const std::string prefix = "torchvid.optimizer.";
  for (const auto& [name, tensor] : state) {
    if (name.rfind(prefix, 0) == 0) optimizer[name.substr(prefix.size())] = tensor;
  }
  optimizer_.Restore(optimizer);
  for (const auto& [name, tensor] : optimizer_.parameters()) {
    if (const auto* saved = find("torchvid.gradient." + name))
      tensor.mutable_grad() = saved->to(tensor.options()).clone();
  }
  const auto* random = find("torchvid.random");
  if (random == nullptr) throw mismatch("torchvid.random");
  generator_.set_state(*random);
  if (step < 0 || step > settings_.passes) {
    throw Error("ERR_CHECKPOINT_MISMATCH", "The checkpoint stands at step " + std::to_string(step) +
                                               " of a run of " + std::to_string(settings_.passes) + ".");
  }
  step_ = step;
  network_->Touch();
}

}  // namespace torchvid
