#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/graph/network.h"
#include "core/train/anomaly_losses.h"
#include "core/train/losses.h"
#include "core/train/source.h"

namespace torchvid {

/// Outputs of a network by name, and what each counts in a sum.
using OutputWeights = std::vector<std::pair<std::string, double>>;

/// What a trainer minimises.
class Objective {
 public:
  virtual ~Objective() = default;
  /// The outputs of the network it needs; nothing else is computed.
  virtual std::vector<std::string> Outputs() const = 0;
  /// The loss of what the network made of `batch`. What is random is drawn from `generator`.
  virtual Loss Compute(const TensorMap& outputs, const Batch& batch,
                       const at::Generator& generator) const = 0;
};

/// A weighted sum of class-balanced cross-entropies, one per output (OSVOS: the sides and the fused map).
class ClassBalancedObjective : public Objective {
 public:
  ClassBalancedObjective(OutputWeights weights, Reduction reduction)
      : weights_(std::move(weights)), reduction_(reduction) {}
  std::vector<std::string> Outputs() const override;
  Loss Compute(const TensorMap& outputs, const Batch& batch, const at::Generator& generator) const override;

 private:
  OutputWeights weights_;
  Reduction reduction_;
};

/// Cross-entropy of one output (N, classes) against int64 labels (N), meaned over the batch.
class CrossEntropyObjective : public Objective {
 public:
  explicit CrossEntropyObjective(std::string output) : output_(std::move(output)) {}
  std::vector<std::string> Outputs() const override { return {output_}; }
  Loss Compute(const TensorMap& outputs, const Batch& batch, const at::Generator& generator) const override;

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
  Loss Compute(const TensorMap& outputs, const Batch& batch, const at::Generator& generator) const override;

 private:
  std::shared_ptr<Network> teacher_;
  OutputWeights weights_;
};

/// RTFM's loss of bags, from outputs `scores`, `magnitudes` and `features`.
class RtfmObjective : public Objective {
 public:
  explicit RtfmObjective(RtfmLossSettings settings) : settings_(settings) {}
  std::vector<std::string> Outputs() const override { return {"scores", "magnitudes", "features"}; }
  Loss Compute(const TensorMap& outputs, const Batch& batch, const at::Generator& generator) const override;

 private:
  RtfmLossSettings settings_;
};

/// The ranking loss of bags, from output `scores`.
class MilRankingObjective : public Objective {
 public:
  explicit MilRankingObjective(MilRankingSettings settings) : settings_(settings) {}
  std::vector<std::string> Outputs() const override { return {"scores"}; }
  Loss Compute(const TensorMap& outputs, const Batch& batch, const at::Generator& generator) const override;

 private:
  MilRankingSettings settings_;
};

}  // namespace torchvid
