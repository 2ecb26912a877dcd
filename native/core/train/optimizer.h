#pragma once

#include <string>
#include <vector>

#include "core/graph/network.h"

namespace torchvid {

/// Settings for the parameters whose name matches `pattern` ('*' stands for any text). The first group that
/// matches a parameter takes it; a parameter that none matches is not trained.
struct ParameterGroup {
  std::string pattern;
  double learning_rate = 0;  // 0: frozen
  double weight_decay = 0;
};

struct OptimizerSettings {
  enum class Kind { kSgd, kAdam, kAdamW, kAdagrad };
  Kind kind = Kind::kSgd;
  double momentum = 0.9;
  bool nesterov = false;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  /// Largest L2 norm of all gradients together; larger ones are scaled down to it. 0: no limit.
  double clip = 0;
  std::vector<ParameterGroup> groups;
};

/// True when `text` matches `pattern`, in which '*' stands for any run of characters.
bool MatchesPattern(const std::string& pattern, const std::string& text);

/// SGD with momentum, Adam, AdamW (weight decay apart from the gradient, arXiv 1711.05101), or Adagrad
/// (PyTorch's definitions), over groups of a network's parameters.
class Optimizer {
 public:
  /// Marks the parameters it trains as requiring gradients; throws ERR_INVALID_ARGUMENT when there are none.
  Optimizer(const Network& network, OptimizerSettings settings);

  /// One update from the accumulated gradients, which are then cleared; learning rates are multiplied by
  /// `factor`.
  void Step(double factor);

  /// The same update in a way that reads nothing back from a device and can be recorded: with the learning
  /// rates that SetRates left on the device; nothing changes where `skip`, a float scalar, is 1. The
  /// gradients stay.
  void StepOnDevice(const at::Tensor& skip);
  /// Learning rates for StepOnDevice: the groups' own, multiplied by `factor`.
  void SetRates(double factor);
  /// Sets the gradients to 0 where they are if `in_place`, else lets go of them.
  void ClearGradients(bool in_place);

  /// Momentum and counters by name, made on first use: for checkpoints. The tensors are the live ones.
  std::vector<std::pair<std::string, at::Tensor>> State() const;
  /// Takes over a saved state; names as `State` gives them.
  void Restore(const TensorMap& state);

  /// The parameters in training, with their names.
  const std::vector<std::pair<std::string, at::Tensor>>& parameters() const { return all_; }

 private:
  struct Group {
    double learning_rate;
    double weight_decay;
    std::vector<std::string> names;
    TensorList parameters;
    TensorList first;   // momentum, Adam's first moment, or Adagrad's sum of squares
    TensorList second;  // Adam's second moment
    TensorList steps;   // updates made so far, per parameter
    at::Tensor rate;    // scalar on the device, of the next StepOnDevice
  };
  /// What an update of a group is about.
  struct Moved {
    TensorList parameters;
    TensorList gradients;
    TensorList first;
    TensorList second;
    TensorList steps;
  };
  static Moved GatherMoved(const Group& group);
  TensorList Gradients() const;
  void ClipGradients();
  void ClipGradientsOnDevice();
  void StepGroup(Group& group, double factor);
  void StepGroupOnDevice(Group& group, const at::Tensor& skip);
  bool IsAdam() const {
    return settings_.kind == OptimizerSettings::Kind::kAdam ||
           settings_.kind == OptimizerSettings::Kind::kAdamW;
  }

  OptimizerSettings settings_;
  std::vector<Group> groups_;
  std::vector<std::pair<std::string, at::Tensor>> all_;
};

}  // namespace torchvid
