#pragma once

#include <memory>
#include <optional>
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

/// Where a pass stands in its run, and where its randomness is drawn from.
struct PassContext {
  at::Generator generator;
  int64_t pass = 0;    // 0 for the first
  int64_t passes = 1;  // of the whole run
};

/// What a trainer minimises.
class Objective {
 public:
  virtual ~Objective() = default;
  /// Runs the network in training on a batch, once or as often as it takes, and gives the loss. Gradients are
  /// recorded; with reduced precision, autocast is on.
  virtual Loss Run(Network& network, const Batch& batch, const PassContext& context) = 0;
  /// Whether a pass on a device can be recorded and played again with other batches of the same shapes (see
  /// DevicePass): then its work depends on no number it computes, on no tensor of the host, and on the pass
  /// only as far as this text says. Null: it cannot.
  virtual std::optional<std::string> RecordingKey(const PassContext& context) const {
    (void)context;
    return std::nullopt;
  }
};

/// An objective that compares what one run of the network gives with the batch's target.
class OutputObjective : public Objective {
 public:
  Loss Run(Network& network, const Batch& batch, const PassContext& context) override;
  std::optional<std::string> RecordingKey(const PassContext&) const override { return ""; }
  /// The outputs of the network it needs; nothing else is computed.
  virtual std::vector<std::string> Outputs() const = 0;
  /// The loss of what the network made of `batch`: float, by output.
  virtual Loss Compute(const TensorMap& outputs, const Batch& batch, const PassContext& context) const = 0;
};

/// Outputs whose weight falls to 0: times 1 - e / `periods` in period e (0 for the first) of `every` passes.
struct Fading {
  std::vector<std::string> outputs;
  int64_t every = 1;
  int64_t periods = 1;
};

/// A weighted sum of class-balanced cross-entropies, one per output (OSVOS: the sides and the fused map).
class ClassBalancedObjective : public OutputObjective {
 public:
  ClassBalancedObjective(OutputWeights weights, Reduction reduction, Fading fading = {})
      : weights_(std::move(weights)), reduction_(reduction), fading_(std::move(fading)) {}
  std::vector<std::string> Outputs() const override;
  Loss Compute(const TensorMap& outputs, const Batch& batch, const PassContext& context) const override;
  /// The period of the fading.
  std::optional<std::string> RecordingKey(const PassContext& context) const override;

 private:
  /// 0 for the first, `periods` at most.
  int64_t PeriodOf(const PassContext& context) const;
  double WeightOf(const std::string& output, double weight, const PassContext& context) const;

  OutputWeights weights_;
  Reduction reduction_;
  Fading fading_;
};

/// Cross-entropy of one output (N, classes) against int64 labels (N), meaned over the batch.
class CrossEntropyObjective : public OutputObjective {
 public:
  explicit CrossEntropyObjective(std::string output) : output_(std::move(output)) {}
  std::vector<std::string> Outputs() const override { return {output_}; }
  Loss Compute(const TensorMap& outputs, const Batch& batch, const PassContext& context) const override;

 private:
  std::string output_;
};

/// What a frozen teacher makes of the same batch: a weighted sum of mean squared differences, one per output,
/// each in units of the variance of the teacher's output. No labels are needed.
class ImitateObjective : public OutputObjective {
 public:
  ImitateObjective(std::shared_ptr<Network> teacher, OutputWeights weights)
      : teacher_(std::move(teacher)), weights_(std::move(weights)) {}
  std::vector<std::string> Outputs() const override;
  /// Throws ERR_SHAPE when the teacher's output has another shape.
  Loss Compute(const TensorMap& outputs, const Batch& batch, const PassContext& context) const override;

 private:
  std::shared_ptr<Network> teacher_;
  OutputWeights weights_;
};

/// RTFM's loss of bags, from outputs `scores`, `magnitudes` and `features`.
class RtfmObjective : public OutputObjective {
 public:
  explicit RtfmObjective(RtfmLossSettings settings) : settings_(settings) {}
  std::vector<std::string> Outputs() const override { return {"scores", "magnitudes", "features"}; }
  Loss Compute(const TensorMap& outputs, const Batch& batch, const PassContext& context) const override;

 private:
  RtfmLossSettings settings_;
};

/// The ranking loss of bags, from output `scores`.
class MilRankingObjective : public OutputObjective {
 public:
  explicit MilRankingObjective(MilRankingSettings settings) : settings_(settings) {}
  std::vector<std::string> Outputs() const override { return {"scores"}; }
  Loss Compute(const TensorMap& outputs, const Batch& batch, const PassContext& context) const override;

 private:
  MilRankingSettings settings_;
};

}  // namespace torchvid
