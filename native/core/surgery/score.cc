#include "core/surgery/score.h"

#include <algorithm>

namespace torchvid {

namespace {

bool MayGo(const ChannelGroups& groups, size_t group) {
  return !groups.locked(static_cast<int>(group)) && !groups.gammas(static_cast<int>(group)).empty();
}

/// Mean squares of the channels of a value, as far as its moments or a batch-norm that reads it tell.
at::Tensor Energies(const Graph& graph, const TensorMap& weights, const std::string& value,
                    const std::vector<Moment>& moments, bool mean_lost) {
  auto energies = at::ones({static_cast<int64_t>(moments.size())}, at::kDouble);
  for (const auto& node : graph.nodes) {
    if (node.op != "batchNorm" || node.inputs[0] != value) continue;
    energies = weights.at(node.name + ".running_var").to(at::kCPU, at::kDouble).clone();
    if (mean_lost) energies += weights.at(node.name + ".running_mean").to(at::kCPU, at::kDouble).square();
  }
  auto* energy = energies.data_ptr<double>();
  for (size_t i = 0; i < moments.size(); ++i) {
    const auto& [mean, deviation, known] = moments[i];
    if (known) energy[i] = deviation * deviation + (mean_lost ? mean * mean : 0);
  }
  return energies;
}

/// Per input channel, the mean over a layer's outputs of the share of the variance that the channel brings.
at::Tensor Shares(const Node& node, const at::Tensor& weight, const at::Tensor& energies) {
  auto squares = weight.detach().to(at::kCPU, at::kDouble).square();
  if (squares.dim() > 2) squares = squares.flatten(2).sum(2);
  const auto groups = node.op == "linear" ? 1 : IntegerOf(node, "groups", 1);
  // (group, output, input) for plain and (group, input, output) for transposed convolutions.
  squares = squares.view({groups, squares.size(0) / groups, squares.size(1)});
  if (node.op == "convTranspose") squares = squares.transpose(1, 2);
  const auto parts = squares * energies.view({groups, 1, -1});
  const auto shares = parts / parts.sum(2, true).clamp_min(1e-30);
  return (shares.mean(1) / static_cast<double>(groups)).flatten().contiguous();
}

/// Multiply-accumulates that go with a channel of each group.
std::vector<double> Costs(const Graph& graph, const ChannelGroups& groups,
                          const std::map<std::string, int64_t>& macs) {
  std::vector<double> costs(groups.count());
  for (const auto& node : graph.nodes) {
    const auto total = static_cast<double>(macs.at(node.name));
    if (total == 0) continue;
    for (const auto* value : {&node.name, &node.inputs[0]}) {
      const auto& channels = groups.of(*value);
      for (const auto group : channels)
        costs[static_cast<size_t>(group)] += total / static_cast<double>(channels.size());
    }
  }
  return costs;
}

}  // namespace

std::vector<double> ScaleScores(const ChannelGroups& groups, const Scales& scales, PruneStrategy strategy) {
  std::vector<double> scores(groups.count(), kNever);
  for (size_t group = 0; group < groups.count(); ++group) {
    if (!MayGo(groups, group)) continue;
    const auto& members = groups.gammas(static_cast<int>(group));
    double greatest = 0;
    double sum = 0;
    for (const auto& [node, channel] : members) {
      const double scale = scales.at(node)[static_cast<size_t>(channel)];
      greatest = std::max(greatest, scale);
      sum += scale;
    }
    scores[group] = strategy == PruneStrategy::kSelect ? greatest : sum / static_cast<double>(members.size());
  }
  return scores;
}

std::vector<double> VarianceScores(const Graph& graph, const TensorMap& weights, const ChannelGroups& groups,
                                   const Moments& moments, const std::map<std::string, int64_t>& macs,
                                   bool mean_lost) {
  std::vector<double> worth(groups.count());
  for (const auto& node : graph.nodes) {
    if (!ReadsAll(node) || groups.opaque(node.name)) continue;
    const auto& value = node.inputs[0];
    const auto energies = Energies(graph, weights, value, moments.at(value), mean_lost);
    const auto shares = Shares(node, weights.at(node.name + ".weight"), energies);
    const auto& channels = groups.of(value);
    for (size_t i = 0; i < channels.size(); ++i)
      worth[static_cast<size_t>(channels[i])] += shares.data_ptr<double>()[i];
  }
  const auto costs = Costs(graph, groups, macs);
  double whole = 0;
  for (const auto& [name, count] : macs) whole += static_cast<double>(count);
  std::vector<double> scores(groups.count(), kNever);
  for (size_t group = 0; group < groups.count(); ++group) {
    // Per share of the network's cost, so that scores of large and small networks are alike.
    if (MayGo(groups, group))
      scores[group] = worth[group] / std::max(costs[group] / std::max(whole, 1.0), 1e-12);
  }
  return scores;
}

}  // namespace torchvid
