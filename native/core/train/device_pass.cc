#include "core/train/device_pass.h"

#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>

#include <utility>

#include "core/device/device.h"
#include "core/torch_error.h"
#include "core/train/autocast_scope.h"

namespace torchvid {

namespace {

/// Passes alike before one is recorded: libraries choose their kernels and take their workspaces in the
/// first.
constexpr int64_t kWarmUp = 3;

/// Memory of its own for a batch like this one, with its content.
Batch OwnCopy(const Batch& batch, at::Device device) {
  const auto own = [&](const at::Tensor& tensor) {
    if (!tensor.defined()) return tensor;
    auto copy = at::empty_like(tensor, tensor.options().device(device));
    copy.copy_(tensor, /*non_blocking=*/true);
    return copy;
  };
  Batch copy{{}, own(batch.target), batch.normal, batch.finish};
  for (const auto& [name, tensor] : batch.inputs) copy.inputs[name] = own(tensor);
  return copy;
}

std::string KindOf(const at::Tensor& tensor) {
  return tensor.defined() ? std::string(toString(tensor.scalar_type())) + ShapeText(tensor.sizes()) : "none";
}

}  // namespace

DevicePass::DevicePass(const Parts& parts, Settings settings, at::Generator generator, GraphBackend* graphs)
    : parts_(parts),
      settings_(settings),
      generator_(std::move(generator)),
      graphs_(graphs),
      device_(parts.network.device()),
      spoilt_(at::zeros({}, at::TensorOptions().dtype(at::kFloat).device(device_))),
      reached_(parts.optimizer.parameters().size(), false) {}

void DevicePass::Run(const Batch& batch, int64_t pass, int64_t passes, std::optional<double> update) {
  if (update) parts_.optimizer.SetRates(*update);
  const PassContext context{generator_, pass, passes};
  const auto key = KeyOf(batch, context);
  if (recorded_ && key == recorded_->key) {
    Replay(batch);
    key_.reset();  // a batch of another shape now and then is not worth a recording
  } else if (!Due(key) || !Record(*key, batch, context)) {
    // A recording that failed may have left another generator.
    Pass(batch, {generator_, pass, passes});
  }
  if (update && !updates_in_pass()) Update();
}

std::optional<std::string> DevicePass::KeyOf(const Batch& batch, const PassContext& context) const {
  if (graphs_ == nullptr) return std::nullopt;
  auto key = parts_.objective.RecordingKey(context);
  if (!key) return std::nullopt;
  for (const auto& [name, tensor] : batch.inputs) *key += " " + name + " " + KindOf(tensor);
  if (batch.finish) *key += " unfinished";
  *key += " target " + KindOf(batch.target) + " normal " + std::to_string(batch.normal);
  return key;
}

bool DevicePass::Due(const std::optional<std::string>& key) {
  if (key != key_) alike_ = 0;
  key_ = key;
  return key && alike_++ >= kWarmUp;
}

bool DevicePass::Record(const std::string& key, const Batch& batch, const PassContext& context) {
  recorded_.reset();
  const auto random = generator_.get_state();
  try {
    auto next = std::make_unique<Recorded>();
    next->key = key;
    next->batch = OwnCopy(batch, device_);
    if (!updates_in_pass()) AttachGradients();
    next->graph = graphs_->Capture({generator_}, [this, own = next->batch, context] { Pass(own, context); });
    next->graph->Replay();
    recorded_ = std::move(next);
    return true;
  } catch (const c10::Error& error) {
    GiveUp(FirstLine(error.what_without_backtrace()));
  } catch (const Error& error) {
    GiveUp(FirstLine(error.what()));
  }
  // Gradients of a recording that failed were never computed.
  if (updates_in_pass()) parts_.optimizer.ClearGradients(false);
  if (!generator_.device().is_cpu()) generator_ = NewGenerator(device_, 0);
  generator_.set_state(random);
  return false;
}

void DevicePass::Replay(const Batch& batch) {
  const auto& own = recorded_->batch;
  for (const auto& [name, tensor] : batch.inputs) own.inputs.at(name).copy_(tensor, /*non_blocking=*/true);
  if (own.target.defined()) own.target.copy_(batch.target, /*non_blocking=*/true);
  recorded_->graph->Replay();
}

void DevicePass::Pass(const Batch& batch, const PassContext& context) {
  c10::AutoGradMode gradients(true);
  {
    const auto whole = Finished(batch);
    Loss loss;
    {
      AutocastScope autocast(settings_.bfloat16, device_.type());
      loss = parts_.objective.Run(parts_.network, whole, context);
    }
    Note(loss);
    (loss.total / static_cast<double>(settings_.accumulate)).backward();
  }
  const auto& parameters = parts_.optimizer.parameters();
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (parameters[i].second.grad().defined()) reached_[i] = true;
  }
  if (updates_in_pass()) UpdateAsItComes();
}

void DevicePass::Note(const Loss& loss) {
  c10::NoGradGuard no_grad;
  const auto number = [](const at::Tensor& tensor) { return tensor.detach().to(at::kDouble).reshape({}); };
  TensorList values{number(loss.total)};
  part_names_.clear();
  for (const auto& [name, part] : loss.parts) {
    part_names_.push_back(name);
    values.push_back(number(part));
  }
  has_accuracy_ = loss.accuracy.defined();
  if (has_accuracy_) values.push_back(number(loss.accuracy));
  const auto row = at::stack(values);
  // In its place: a recorded pass goes on writing there.
  if (!values_.defined() || values_.sizes() != row.sizes()) values_ = at::empty_like(row);
  values_.copy_(row);
  spoilt_.copy_(at::maximum(spoilt_, at::isfinite(values[0]).logical_not().to(at::kFloat)));
}

void DevicePass::Update() {
  if (!recorded_update_ && recorded_) {
    try {
      recorded_update_ = graphs_->Capture({}, [this] { UpdateAsItComes(); });
    } catch (const c10::Error& error) {
      GiveUp(FirstLine(error.what_without_backtrace()));
    }
  }
  recorded_update_ ? recorded_update_->Replay() : UpdateAsItComes();
}

void DevicePass::UpdateAsItComes() {
  parts_.penalty.AddGradients();
  parts_.held.ClearGradients();
  parts_.optimizer.StepOnDevice(spoilt_);
  parts_.optimizer.ClearGradients(attached_);
}

void DevicePass::AttachGradients() {
  const auto& parameters = parts_.optimizer.parameters();
  for (size_t i = 0; i < parameters.size(); ++i) {
    auto& gradient = parameters[i].second.mutable_grad();
    if (reached_[i] && !gradient.defined()) gradient = at::zeros_like(parameters[i].second.detach());
  }
  attached_ = true;
}

void DevicePass::GiveUp(const std::string& reason) {
  graphs_ = nullptr;
  warning_ = "Training steps on " + device_.str() +
             " are not recorded as CUDA graphs, and so may be slower: " + reason;
}

}  // namespace torchvid
