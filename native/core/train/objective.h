#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/graph/network.h"
#include "core/train/losses.h"
#include "core/train/source.h"

namespace torchvid {

struct Loss {
  at::Tensor total;  // scalar
  /// Its parts by name, before weighting.
  std::vector<std::pair<std::string, double>> parts;
  /// Of a classification: the share of the batch whose class is right.
  std::optional<double> accuracy;
};

/// Outputs of a network by name, and what each counts in a sum.
using OutputWeights = std::vector<std::pair<std::string, double>>;

/// What a trainer minimises.
class Objective {
 public:
  virtual ~Objective() = default;
  /// The outputs of the network it needs; nothing else is computed.
  virtual std::vector<std::string> Outputs() const = 0;
  /// The loss of what the network made of `batch`.
  virtual Loss Compute(const TensorMap& outputs, const Batch& batch) const = 0;
};

/// A weighted sum of class-balanced cross-entropies, one per output (OSVOS: the sides and the fused map).
class ClassBalancedObjective : public Objective {
 public:
  ClassBalancedObjective(OutputWeights weights, Reduction reduction)
      : weights_(std::move(weights)), reduction_(reduction) {}
  std::vector<std::string> Outputs() const override;
  Loss Compute(const TensorMap& outputs, const Batch& batch) const override;

 private:
  OutputWeights weights_;
  Reduction reduction_;
};

/// Cross-entropy of one output (N, classes) against int64 labels (N), meaned over the batch.
class CrossEntropyObjective : public Objective {
 public:
  explicit CrossEntropyObjective(std::string output) : output_(std::move(output)) {}
  std::vector<std::string> Outputs() const override { return {output_}; }
  Loss Compute(const TensorMap& outputs, const Batch& batch) const override;

 private:
  std::string output_;
};

/// What a frozen teacher makes of the same batch: a weighted sum of mean squared differences, one per output,
/// each in units of the variance of the teacher's output. No labels are needed.
class ImitateObjective : public Objective {
 public:
  ImitateObjective(std::shared_ptr<Network> teacher, OutputWeights weights)
      : teacher_(std::move(teacher)), weights_(std::move(weights)) {}
  std::vector<std::string> Outputs() const override;
  /// Throws ERR_SHAPE when the teacher's output has another shape.
  Loss Compute(const TensorMap& outputs, const Batch& batch) const override;

 private:
  std::shared_ptr<Network> teacher_;
  OutputWeights weights_;
};

}  // namespace torchvid
