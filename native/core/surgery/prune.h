#pragma once

#include <memory>
#include <optional>

#include "core/surgery/choose.h"

namespace torchvid {

/// What `Prune` is asked for.
struct PruneSettings {
  PruneStrategy strategy = PruneStrategy::kSelect;
  /// By what the groups are ranked: their scale factors, or what they are worth where they are read.
  enum class Score { kScale, kVariance };
  Score score = Score::kScale;
  /// Share of the channels that go; unused with a target.
  double ratio = 0;
  /// Multiply-accumulates or parameters to come down to; the ratio is found by bisection.
  std::optional<int64_t> target_macs;
  std::optional<int64_t> target_parameters;
  /// Removed channels' mean contributions are kept in what follows.
  bool fold = false;
  Floor floor;
  int64_t round_to = 1;
  /// Input shapes at which multiply-accumulates are counted.
  ShapeMap shapes;
};

struct PruneResult {
  std::shared_ptr<Network> network;
  double ratio = 0;
  double threshold = 0;
  /// Of every batch-norm of the network that was cut: the channels that go on from it.
  std::map<std::string, std::vector<int64_t>> kept;
  /// Of every layer: its output channels that are left.
  std::map<std::string, std::vector<int64_t>> channels;
  std::map<std::string, std::vector<double>> gammas;
  std::vector<LayerSummary> before;
  std::vector<LayerSummary> after;
  std::vector<std::string> warnings;
};

/// A new network without the channels whose batch-norm scale is small (network slimming, Liu et al. 2017,
/// arXiv 1708.06519); the one given stays as it is. Throws ERR_INVALID_ARGUMENT when there is nothing to cut,
/// when a layer would lose everything, or when no ratio reaches the target.
PruneResult Prune(const Network& network, const PruneSettings& settings);

}  // namespace torchvid
