#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/graph/network.h"

namespace torchvid {

/// A figure of merit of a network; higher is better. Taking it is a series of steps, so that other work gets
/// its turn in between.
class Measure {
 public:
  virtual ~Measure() = default;
  /// A piece of the work: nothing while more remains, then the figure. The call after that begins anew.
  virtual std::optional<double> Step(Network& network) = 0;
};

struct SelectionSettings {
  /// Measured after each so many steps, once more than `after` are done, and after the last.
  int64_t every = 1;
  int64_t after = 0;
};

/// The best state of a network during its training, by a measure. Of equal ones the latest.
class Selection {
 public:
  Selection(std::unique_ptr<Measure> measure, SelectionSettings settings, std::shared_ptr<Network> network);

  bool Due(int64_t step, bool last) const;
  /// A piece of measuring the network after `step`: nothing while more remains, then the figure.
  std::optional<double> Step(int64_t step);
  /// The step of the best state so far, 0 before the first measurement.
  int64_t best_step() const { return best_step_; }
  /// Makes the network what it was at its best.
  void TakeBest() const;

  /// The best state, for checkpoints.
  std::vector<std::pair<std::string, at::Tensor>> State() const;
  void Restore(const TensorMap& state);

 private:
  std::unique_ptr<Measure> measure_;
  SelectionSettings settings_;
  std::shared_ptr<Network> network_;
  int64_t measured_step_ = -1;
  int64_t best_step_ = 0;
  double best_value_ = 0;
  TensorList best_;  // in the order of the network's entries
};

}  // namespace torchvid
