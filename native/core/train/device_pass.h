#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/device/step_graph.h"
#include "core/train/objective.h"
#include "core/train/optimizer.h"
#include "core/train/penalty.h"

namespace torchvid {

/// Training passes that read nothing back from the device, recorded as graphs where that is possible: after a
/// few passes of the same shapes, forward, backward and update are recorded once and then played again, each
/// batch copied to where the first one stood. What cannot be recorded (other shapes, an objective that does
/// not allow it) runs as it comes; so does everything once a recording has failed. Either way the same
/// kernels run and the same random numbers are drawn.
///
/// A loss that is no number stops all updates from then on, on the device: whoever reads the losses later
/// finds the parameters as they were before that pass.
class DevicePass {
 public:
  struct Parts {
    Network& network;
    Objective& objective;
    Optimizer& optimizer;
    const L1Penalty& penalty;
    const HeldChannels& held;
  };

  struct Settings {
    int64_t accumulate = 1;
    bool bfloat16 = false;
  };

  /// `generator`: of the network's device. `graphs` may be null.
  DevicePass(const Parts& parts, Settings settings, at::Generator generator, GraphBackend* graphs);

  /// Forward and backward of a batch. `update`: then updates the parameters, with learning rates times so
  /// much.
  void Run(const Batch& batch, int64_t pass, int64_t passes, std::optional<double> update);

  /// Of the last pass: the loss, its parts, and the accuracy where there is one, as doubles on the device.
  /// The tensor is written over by the next pass.
  const at::Tensor& values() const { return values_; }
  const std::vector<std::string>& part_names() const { return part_names_; }
  bool has_accuracy() const { return has_accuracy_; }

  /// The generator; another one after a recording has failed.
  const at::Generator& generator() const { return generator_; }

  /// Why passes are not recorded although they might have been; once.
  std::optional<std::string> TakeWarning() { return std::exchange(warning_, std::nullopt); }

 private:
  struct Recorded {
    std::string key;
    Batch batch;
    std::unique_ptr<StepGraph> graph;
  };

  bool updates_in_pass() const { return settings_.accumulate == 1; }
  std::optional<std::string> KeyOf(const Batch& batch, const PassContext& context) const;
  /// Whether a pass of this key is to be recorded now.
  bool Due(const std::optional<std::string>& key);
  bool Record(const std::string& key, const Batch& batch, const PassContext& context);
  void Replay(const Batch& batch);
  /// One pass as it comes; with its update where every pass has one.
  void Pass(const Batch& batch, const PassContext& context);
  void Note(const Loss& loss);
  void Update();
  void UpdateAsItComes();
  /// Gives every parameter that gets gradients one that stays in its place.
  void AttachGradients();
  void GiveUp(const std::string& reason);

  Parts parts_;
  Settings settings_;
  at::Generator generator_;
  GraphBackend* graphs_;
  at::Device device_;

  at::Tensor values_;
  /// 1 once a loss was no number, else 0.
  at::Tensor spoilt_;
  std::vector<std::string> part_names_;
  bool has_accuracy_ = false;
  /// Of the parameters in training: which have got a gradient.
  std::vector<bool> reached_;
  bool attached_ = false;

  /// What the passes just before had in common, and how many of them there were.
  std::optional<std::string> key_;
  int64_t alike_ = 0;
  std::unique_ptr<Recorded> recorded_;
  std::unique_ptr<StepGraph> recorded_update_;
  std::optional<std::string> warning_;
};

}  // namespace torchvid
