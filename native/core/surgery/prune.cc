#include "core/surgery/prune.h"

#include <c10/core/GradMode.h>

#include <algorithm>
#include <sstream>

#include "core/error.h"
#include "core/surgery/choose.h"
#include "core/surgery/cut.h"
#include "core/surgery/score.h"

namespace torchvid {

namespace {

using Indexes = std::map<std::string, std::vector<int64_t>>;

/// One pruning of one network: what stays the same while ratios are tried.
class Surgeon {
 public:
  Surgeon(const Network& network, const PruneSettings& settings)
      : settings_(settings), device_(network.device()) {
    // A search that may go anywhere must not end at a dead network.
    if (settings.target_macs || settings.target_parameters)
      settings_.floor.channels = std::max<int64_t>(settings.floor.channels, 1);
    for (const auto& entry : network.entries()) weights_[entry.name] = entry.tensor.detach();
    Indexes indexes = IndexesOf(network.graph());
    graph_ = settings.strategy == PruneStrategy::kSelect ? WithSelections(network.graph(), indexes)
                                                         : network.graph();
    for (const auto& node : graph_.nodes) {
      const auto name = node.name + ".indexes";
      if (node.op != "select" || weights_.count(name) > 0) continue;
      weights_[name] = at::ones({IntegerOf(node, "channels", 1)}, at::TensorOptions().device(device_));
      made_.insert(node.name);
    }
    groups_ = std::make_unique<ChannelGroups>(graph_, IndexesOf(graph_), settings.strategy);
    moments_ = FollowRemoved(graph_, weights_, *groups_, settings.strategy, settings.fold);
    choice_ = std::make_unique<Choice>(graph_, *groups_, WithoutInexact(Scores()));
    if (choice_->candidates() == 0) {
      throw InvalidArgument(
          "The network has no channel that could go: no batch-norm scales one that does not lead into an "
          "output" +
          std::string(settings.strategy == PruneStrategy::kSelect ? " or a sum (strategy 'group' cuts sums)."
                                                                  : "."));
    }
  }

  std::vector<double> Gammas(const std::string& batch_norm) const {
    const auto gamma = weights_.at(batch_norm + ".weight").abs().to(at::kCPU, at::kDouble).contiguous();
    if (!at::isfinite(gamma).all().item<bool>()) {
      throw Error("ERR_NOT_FINITE",
                  "Batch-norm '" + batch_norm +
                      "' has a scale that is no finite number: the training before diverged. Load or "
                      "train sound weights.");
    }
    return {gamma.data_ptr<double>(), gamma.data_ptr<double>() + gamma.numel()};
  }

  /// The ratio asked for, or the smallest that reaches the target.
  double Ratio() const {
    if (!settings_.target_macs && !settings_.target_parameters) return settings_.ratio;
    const auto candidates = choice_->candidates();
    int64_t low = 0;            // too little
    int64_t high = candidates;  // enough, if anything is
    const auto ratio = [&](int64_t count) {
      return static_cast<double>(count) / static_cast<double>(candidates);
    };
    if (Reaches(0)) return 0;
    if (!Reaches(ratio(candidates - 1))) throw InvalidArgument(OutOfReach(ratio(candidates - 1)));
    while (high - low > 1) {
      const auto middle = low + (high - low) / 2;
      (Reaches(ratio(middle)) ? high : low) = middle;
    }
    return ratio(high);
  }

  PruneResult Cut(double ratio) {
    PruneResult result;
    result.ratio = ratio;
    result.warnings = warnings_;
    result.threshold = std::max(choice_->Threshold(ratio), 0.0);
    std::vector<std::string> rescued;
    auto removed = choice_->Removed(choice_->Threshold(ratio), settings_.floor, settings_.round_to, &rescued);
    for (const auto& name : rescued) {
      std::ostringstream text;
      text << "Layer '" << name << "' has fewer channels above the threshold " << result.threshold
           << " than every layer keeps: its strongest were kept (keepAtLeast, keepShare).";
      result.warnings.push_back(text.str());
    }
    const Kept kept = KeptChannels(graph_, *groups_, removed);
    TensorMap tensors = CutTensors(graph_, weights_, *groups_, kept);
    std::set<std::string> biased;
    Absorb(graph_, weights_, *groups_, removed, moments_, kept, &tensors, &biased);
    SilenceMasked(&tensors);
    result.kept = KeptByBatchNorm(kept);
    result.channels = kept;
    for (const auto& node : graph_.nodes) {
      if (node.op == "batchNorm") result.gammas[node.name] = Gammas(node.name);
    }
    result.network = Network::Create(Finished(CutGraph(graph_, *groups_, kept, biased)), 0, device_);
    for (const auto& entry : result.network->entries()) entry.tensor.copy_(tensors.at(entry.name));
    result.after = result.network->Summarise(settings_.shapes);
    return result;
  }

 private:
  Indexes IndexesOf(const Graph& graph) const {
    Indexes indexes;
    for (const auto& node : graph.nodes) {
      if (node.op != "select") continue;
      auto& row = indexes[node.name];
      const auto found = weights_.find(node.name + ".indexes");
      const auto mask = found == weights_.end() ? at::ones({IntegerOf(node, "channels", 1)}) : found->second;
      const auto picked = mask.nonzero().flatten().to(at::kCPU).contiguous();
      row.assign(picked.data_ptr<int64_t>(), picked.data_ptr<int64_t>() + picked.numel());
    }
    return indexes;
  }

  /// Without fold the result must compute what the masked network computes, to the last border pixel.
  std::vector<double> WithoutInexact(std::vector<double> scores) {
    if (settings_.fold) return scores;
    const auto inexact = Inexact(graph_, *groups_, moments_);
    int64_t held = 0;
    for (size_t group = 0; group < scores.size(); ++group) {
      if (!inexact[group] || scores[group] == kNever) continue;
      scores[group] = kNever;
      ++held;
    }
    if (held > 0) {
      warnings_.push_back(
          std::to_string(held) +
          " channels cannot go: with their scale at zero they still bring something, and zero padding "
          "or what they are combined with makes that no constant. fold: true takes them out.");
    }
    return scores;
  }

  std::vector<double> Scores() const {
    if (settings_.score == PruneSettings::Score::kScale) {
      Scales scales;
      for (size_t i = 0; i < graph_.nodes.size(); ++i) {
        if (graph_.nodes[i].op == "batchNorm") scales[i] = Gammas(graph_.nodes[i].name);
      }
      return ScaleScores(*groups_, scales, settings_.strategy);
    }
    std::map<std::string, int64_t> macs;
    for (const auto& row : Network::Summarise(graph_, settings_.shapes)) macs[row.name] = row.macs;
    const auto folded =
        settings_.fold ? moments_ : FollowRemoved(graph_, weights_, *groups_, settings_.strategy, true);
    return VarianceScores(graph_, weights_, *groups_, folded, macs, !settings_.fold);
  }

  /// Parameters and multiply-accumulates of the network cut at this ratio.
  std::pair<int64_t, int64_t> CostAt(double ratio) const {
    const auto removed =
        choice_->Removed(choice_->Threshold(ratio), settings_.floor, settings_.round_to, nullptr);
    int64_t parameters = 0;
    int64_t macs = 0;
    const auto cut = CutGraph(graph_, *groups_, KeptChannels(graph_, *groups_, removed), {});
    for (const auto& row : Network::Summarise(cut, settings_.shapes)) {
      parameters += row.parameters;
      macs += row.macs;
    }
    return {parameters, macs};
  }

  bool Reaches(double ratio) const {
    const auto [parameters, macs] = CostAt(ratio);
    return parameters <= settings_.target_parameters.value_or(parameters) &&
           macs <= settings_.target_macs.value_or(macs);
  }

  std::string OutOfReach(double ratio) const {
    const auto [parameters, macs] = CostAt(ratio);
    return "target: even with every channel cut that may go, " + std::to_string(parameters) +
           " parameters and " + std::to_string(macs) +
           " multiply-accumulates are left. Ask for more, lower keepAtLeast or roundTo, or use strategy "
           "'group'.";
  }

  /// A batch-norm that keeps its width before a selection: what the selection drops counts as zero (the
  /// references store it so).
  void SilenceMasked(TensorMap* tensors) const {
    for (const auto& node : graph_.nodes) {
      std::string selection;
      if (node.op != "batchNorm" || !IsSelected(graph_, node.name, &selection)) continue;
      const auto& mask = tensors->at(selection + ".indexes");
      for (const auto* name : {".weight", ".bias"}) tensors->at(node.name + name).masked_fill_(mask == 0, 0);
    }
  }

  std::map<std::string, std::vector<int64_t>> KeptByBatchNorm(const Kept& kept) const {
    std::map<std::string, std::vector<int64_t>> result;
    const auto indexes = IndexesOf(graph_);
    for (const auto& node : graph_.nodes) {
      if (node.op != "batchNorm") continue;
      std::string selection;
      if (settings_.strategy == PruneStrategy::kSelect && IsSelected(graph_, node.name, &selection)) {
        for (const auto place : kept.at(selection))
          result[node.name].push_back(indexes.at(selection)[static_cast<size_t>(place)]);
      } else {
        result[node.name] = kept.at(node.name);
      }
    }
    return result;
  }

  /// Without the selections made here that turned out to pick everything.
  Graph Finished(Graph graph) const {
    std::map<std::string, std::string> instead;
    const auto follow = [&](std::string& name) {
      if (const auto found = instead.find(name); found != instead.end()) name = found->second;
    };
    std::vector<Node> nodes;
    for (auto& node : graph.nodes) {
      for (auto& input : node.inputs) follow(input);
      if (made_.count(node.name) > 0 && IntegerOf(node, "out", 0) == IntegerOf(node, "channels", 0)) {
        instead[node.name] = node.inputs[0];
      } else {
        nodes.push_back(std::move(node));
      }
    }
    for (auto& [output, node] : graph.outputs) follow(node);
    graph.nodes = std::move(nodes);
    return graph;
  }

  PruneSettings settings_;
  at::Device device_;
  TensorMap weights_;
  Graph graph_;
  std::set<std::string> made_;
  std::unique_ptr<ChannelGroups> groups_;
  std::unique_ptr<Choice> choice_;
  Moments moments_;
  std::vector<std::string> warnings_;
};

}  // namespace

PruneResult Prune(const Network& network, const PruneSettings& settings) {
  network.CheckNotDisposed();
  c10::NoGradGuard no_grad;
  auto before = Network::Summarise(network.graph(), settings.shapes);
  Surgeon surgeon(network, settings);
  auto result = surgeon.Cut(surgeon.Ratio());
  result.before = std::move(before);
  return result;
}

}  // namespace torchvid
