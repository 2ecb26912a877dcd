#pragma once

#include <algorithm>
#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "core/error.h"
#include "core/train/device_pass.h"
#include "core/train/late_values.h"
#include "core/train/objective.h"
#include "core/train/optimizer.h"
#include "core/train/penalty.h"
#include "core/train/source.h"

namespace torchvid {

struct TrainerSettings {
  /// Passes (forward and backward) in all.
  int64_t passes = 1;
  /// The run stops after this many of them, to be gone on with from its checkpoint.
  std::optional<int64_t> until;
  /// Passes whose averaged gradients make one update.
  int64_t accumulate = 1;
  /// The learning rate over the run: constant, falling to 0 along half a cosine, or multiplied by `factor`
  /// at each milestone (the number of passes before it). It rises linearly in the first `warmup` passes; a
  /// cosine begins after them.
  enum class Schedule { kConstant, kCosine, kSteps };
  Schedule schedule = Schedule::kConstant;
  std::vector<int64_t> milestones;
  double factor = 0.1;
  int64_t warmup = 0;
  bool bfloat16 = false;
  uint64_t seed = 0;
  OptimizerSettings optimizer;
  /// L1 on these parameters' values.
  std::vector<std::string> sparse;
  double sparsity = 0;
  std::vector<HeldChannels::Keep> held;
};

/// What one pass reports.
struct StepRecord {
  int64_t step = 0;  // 1 for the first
  double loss = 0;   // before this pass's update
  std::vector<std::pair<std::string, double>> losses;
  std::optional<double> accuracy;    // of this pass's batch, 0..1
  std::optional<double> validation;  // measured after this pass's update
  double learning_rate = 0;          // of the first group that learns
  double seconds = 0;
};

/// Source -> graph -> objective -> penalty -> optimizer. One call of Step is one pass. Everything random
/// comes from the seed.
///
/// On the CPU a pass is done, and its record there, when Step returns. On CUDA Step hands it to the device
/// and reads nothing back (see DevicePass); its record comes some passes later.
class Trainer {
 public:
  Trainer(std::shared_ptr<Network> network, std::unique_ptr<Source> source,
          std::unique_ptr<Objective> objective, TrainerSettings settings);
  ~Trainer();

  /// Whether no pass is left to do, before the run's end or at `until`.
  bool done() const { return step_ >= end(); }
  /// Whether the whole run is done.
  bool complete() const { return step_ >= settings_.passes; }
  int64_t step() const { return step_; }
  int64_t passes() const { return settings_.passes; }
  const std::shared_ptr<Network>& network() const { return network_; }

  /// A piece of what must be done before the first pass; true while more remains.
  bool Prepare() { return source_->Prepare(); }
  /// Whether the next pass's batch can be had: false after a short wait for it.
  bool Ready() { return source_->Ready(step_, end()); }
  /// One pass. Throws ERR_NOT_FINITE when the loss is no number any more, at once or from a later Collect.
  void Step();
  /// Appends the records of the passes done, in order: those that are there or, after waiting, all. Throws
  /// ERR_NOT_FINITE at the pass whose loss is no number; no update was made from there on. All must be
  /// collected before anything of the network or of State is kept.
  void Collect(bool all, std::vector<StepRecord>* records);
  /// Something that the user should hear of, once.
  std::optional<std::string> TakeWarning();

  /// All that a later process needs to go on exactly here: tensors by name and the step as metadata.
  std::vector<std::pair<std::string, at::Tensor>> State() const;
  void Restore(const TensorMap& state, int64_t step);

 private:
  using Clock = std::chrono::steady_clock;

  int64_t end() const { return std::min(settings_.until.value_or(settings_.passes), settings_.passes); }
  /// What the learning rates are multiplied by at this pass.
  double RateFactor() const;
  void Update(double factor);
  double BaseRate() const;
  /// Whether an update follows the pass just done, or about to be done by `step`.
  bool UpdatesAfter(int64_t step) const;
  /// The pass as a whole, its record included.
  void StepAtOnce(const Batch& batch, double factor, Clock::time_point start);
  /// Hands the pass to the device.
  void StepLate(const Batch& batch, double factor, Clock::time_point start);
  Error NotFinite(double loss, int64_t step) const;

  std::shared_ptr<Network> network_;
  std::unique_ptr<Source> source_;
  std::unique_ptr<Objective> objective_;
  TrainerSettings settings_;
  Optimizer optimizer_;
  L1Penalty penalty_;
  HeldChannels held_;
  at::Generator generator_;
  int64_t step_ = 0;
  /// Complete records, not yet collected.
  std::vector<StepRecord> records_;
  /// Null where passes are done at once.
  std::unique_ptr<DevicePass> device_pass_;
  std::optional<LateValues> values_;
  /// Records whose numbers are under way, with names for them.
  std::deque<StepRecord> waiting_;
  /// When the passes before those of `waiting_` were done.
  Clock::time_point mark_;
};

}  // namespace torchvid
