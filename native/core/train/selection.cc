#include "core/train/selection.h"

#include <c10/core/GradMode.h>

#include "core/error.h"

namespace torchvid {

namespace {

const std::string kPrefix = "torchvid.best.";
/// Step and value of the best state.
const std::string kWhere = "torchvid.best";

}  // namespace

Selection::Selection(std::unique_ptr<Measure> measure, SelectionSettings settings,
                     std::shared_ptr<Network> network)
    : measure_(std::move(measure)), settings_(settings), network_(std::move(network)) {}

bool Selection::Due(int64_t step, bool last) const {
  return last || (step > settings_.after && step % settings_.every == 0);
}

std::optional<double> Selection::Step(int64_t step) {
  c10::NoGradGuard no_grad;
  if (step != measured_step_) network_->Touch();  // what inference prepares from weights is the last state's
  measured_step_ = step;
  const auto value = measure_->Step(*network_);
  if (!value || (best_step_ > 0 && *value < best_value_)) return value;
  best_step_ = step;
  best_value_ = *value;
  best_.clear();
  for (const auto& entry : network_->entries()) best_.push_back(entry.tensor.detach().clone());
  return value;
}

void Selection::TakeBest() const {
  if (best_step_ == 0) return;
  c10::NoGradGuard no_grad;
  for (size_t i = 0; i < best_.size(); ++i) network_->entries()[i].tensor.copy_(best_[i]);
  network_->Touch();
}

std::vector<std::pair<std::string, at::Tensor>> Selection::State() const {
  std::vector<std::pair<std::string, at::Tensor>> state;
  if (best_step_ == 0) return state;
  state.emplace_back(kWhere, at::tensor({static_cast<double>(best_step_), best_value_}, at::kDouble));
  for (size_t i = 0; i < best_.size(); ++i)
    state.emplace_back(kPrefix + network_->entries()[i].name, best_[i]);
  return state;
}

void Selection::Restore(const TensorMap& state) {
  const auto where = state.find(kWhere);
  if (where == state.end()) return;
  TensorList best;
  for (const auto& entry : network_->entries()) {
    const auto saved = state.find(kPrefix + entry.name);
    if (saved == state.end() || saved->second.sizes() != entry.tensor.sizes()) {
      throw Error("ERR_CHECKPOINT_MISMATCH", "The checkpoint has no fitting '" + kPrefix + entry.name +
                                                 "': it belongs to another network or training.");
    }
    best.push_back(saved->second.to(entry.tensor.options()));
  }
  best_ = std::move(best);
  best_step_ = static_cast<int64_t>(where->second[0].item<double>());
  best_value_ = where->second[1].item<double>();
}

}  // namespace torchvid
