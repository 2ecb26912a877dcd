#include "core/train/trainer.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numbers>
#include <sstream>

#include "core/device/device.h"
#include "core/device/step_graph.h"
#include "core/torch_error.h"
#include "core/train/autocast_scope.h"

namespace torchvid {

namespace {

/// Of the generator of a device other than the CPU, in checkpoints.
const std::string kDeviceRandom = "torchvid.random.device";

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
  const auto device = network_->device();
  const auto mode = StepModeOf(device);
  if (!mode.late) return;
  // The same run twice gives the same numbers.
  if (device.is_cuda()) at::globalContext().setDeterministicCuDNN(true);
  device_pass_ = std::make_unique<DevicePass>(
      DevicePass::Parts{*network_, *objective_, optimizer_, penalty_, held_},
      DevicePass::Settings{settings_.accumulate, settings_.bfloat16},
      device.is_cpu() ? generator_ : NewGenerator(device, settings_.seed), mode.graphs);
  values_.emplace(device);
}

Trainer::~Trainer() {
  if (device_pass_) FinishDevice(network_->device());
  device_pass_.reset();
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

bool Trainer::UpdatesAfter(int64_t step) const {
  // The last updates may stand on fewer passes than `accumulate`: a smaller step, but no pass is lost.
  return step % settings_.accumulate == 0 || step >= settings_.passes;
}

Error Trainer::NotFinite(double loss, int64_t step) const {
  std::ostringstream message;
  message << "The loss became " << loss << " at step " << step << " of " << settings_.passes
          << ". Lower the learning rate, and check that the weights that were loaded fit the network.";
  return {"ERR_NOT_FINITE", message.str()};
}

void Trainer::Step() {
  const auto start = Clock::now();
  const double factor = RateFactor();
  const StepStream stream(network_->device());
  const Tf32Scope tf32(settings_.bfloat16);
  try {
    const auto batch = source_->Next(step_, generator_);
    device_pass_ ? StepLate(batch, factor, start) : StepAtOnce(Finished(batch), factor, start);
  } catch (const c10::Error& error) {
    throw FromTorch(error, "Training step " + std::to_string(step_ + 1), "ERR_SHAPE");
  }
}

void Trainer::StepAtOnce(const Batch& batch, double factor, Clock::time_point start) {
  StepRecord record;
  {
    c10::AutoGradMode gradients(true);
    Loss loss;
    {
      AutocastScope autocast(settings_.bfloat16, network_->device().type());
      loss = objective_->Run(*network_, batch, {generator_, step_, settings_.passes});
    }
    record.loss = loss.total.item<double>();
    for (const auto& [name, part] : loss.parts) record.losses.emplace_back(name, part.item<double>());
    if (loss.accuracy.defined()) record.accuracy = loss.accuracy.item<double>();
    if (!std::isfinite(record.loss)) throw NotFinite(record.loss, step_ + 1);
    (loss.total / static_cast<double>(settings_.accumulate)).backward();
  }
  ++step_;
  if (UpdatesAfter(step_)) Update(factor);
  record.step = step_;
  record.learning_rate = BaseRate() * factor;
  record.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  records_.push_back(std::move(record));
}

void Trainer::StepLate(const Batch& batch, double factor, Clock::time_point start) {
  const auto update = UpdatesAfter(step_ + 1) ? std::optional(factor) : std::nullopt;
  device_pass_->Run(batch, step_, settings_.passes, update);
  values_->Send(device_pass_->values());
  ++step_;
  if (waiting_.empty()) mark_ = start;
  StepRecord record;
  record.step = step_;
  record.learning_rate = BaseRate() * factor;
  for (const auto& name : device_pass_->part_names()) record.losses.emplace_back(name, 0);
  if (device_pass_->has_accuracy()) record.accuracy = 0;
  waiting_.push_back(std::move(record));
}

void Trainer::Collect(bool all, std::vector<StepRecord>* records) {
  std::move(records_.begin(), records_.end(), std::back_inserter(*records));
  records_.clear();
  if (!values_) return;
  const auto before = records->size();
  const auto share_time = [&] {
    const auto now = Clock::now();
    const auto seconds = std::chrono::duration<double>(now - mark_).count();
    const auto count = static_cast<double>(records->size() - before);
    for (auto i = before; i < records->size(); ++i) (*records)[i].seconds = seconds / count;
    mark_ = now;
  };
  while (!waiting_.empty() && values_->Arrived(all)) {
    const auto numbers = values_->Take();
    auto record = std::move(waiting_.front());
    waiting_.pop_front();
    record.loss = numbers.front();
    for (size_t i = 0; i < record.losses.size(); ++i) record.losses[i].second = numbers[i + 1];
    if (record.accuracy) record.accuracy = numbers.back();
    if (!std::isfinite(record.loss)) {
      if (records->size() > before) share_time();
      waiting_.clear();  // what comes after follows from this
      throw NotFinite(record.loss, record.step);
    }
    records->push_back(std::move(record));
  }
  if (records->size() > before) share_time();
}

std::optional<std::string> Trainer::TakeWarning() {
  return device_pass_ ? device_pass_->TakeWarning() : std::nullopt;
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
    // After an update there are none, or zeros that stay in their place.
    if (tensor.grad().defined() && !UpdatesAfter(step_))
      state.emplace_back("torchvid.gradient." + name, tensor.grad());
  }
  state.emplace_back("torchvid.random", generator_.get_state());
  if (device_pass_) state.emplace_back(kDeviceRandom, device_pass_->generator().get_state());
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
    const auto* saved = find("torchvid.gradient." + name);
    if (saved == nullptr) continue;
    if (saved->sizes() != tensor.sizes()) throw mismatch("torchvid.gradient." + name);
    tensor.mutable_grad() = at::empty_like(tensor.detach()).copy_(*saved);  // laid out as the parameter is
  }
  const auto* random = find("torchvid.random");
  if (random == nullptr) throw mismatch("torchvid.random");
  generator_.set_state(*random);
  // Of a run that went on another device there is none, and it goes on with other random numbers.
  const auto* device_random = find(kDeviceRandom);
  if (device_pass_ && device_random != nullptr) {
    auto generator = device_pass_->generator();
    generator.set_state(*device_random);
  }
  if (step < 0 || step > settings_.passes) {
    throw Error("ERR_CHECKPOINT_MISMATCH", "The checkpoint stands at step " + std::to_string(step) +
                                               " of a run of " + std::to_string(settings_.passes) + ".");
  }
  step_ = step;
  network_->Touch();
}

}  // namespace torchvid
