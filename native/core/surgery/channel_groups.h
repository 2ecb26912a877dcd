#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "core/graph/network.h"

namespace torchvid {

/// How batch-norms on a shared stream are cut (Liu et al. 2017; DepGraph, Fang et al. 2023).
enum class PruneStrategy {
  /// Each by a selection of its own behind it; sums keep their channels.
  kSelect,
  /// Channels that are added live or die together, so that the stream itself shrinks.
  kGroup,
};

/// A scale factor that speaks for a channel: batch-norm (by its place among the nodes) and channel.
struct Gamma {
  size_t node;
  int64_t channel;
  bool operator<(const Gamma& other) const {
    return node != other.node ? node < other.node : channel < other.channel;
  }
};

/// Which channels of a graph must live or die together. Every channel (dimension 1) of every value belongs to
/// one group; a group goes whole or stays whole.
class ChannelGroups {
 public:
  /// `indexes`: of every selection, the channels it picks. With kSelect the graph must hold a selection
  /// behind every batch-norm on a shared stream: see WithSelections.
  ChannelGroups(const Graph& graph, const std::map<std::string, std::vector<int64_t>>& indexes,
                PruneStrategy strategy);

  /// The group of each channel of a value (an input of the graph or a node).
  const std::vector<int>& of(const std::string& value) const { return channels_.at(value); }
  size_t count() const { return locked_.size(); }
  /// Locked groups always stay: inputs, outputs, what cannot be followed.
  bool locked(int group) const { return locked_[static_cast<size_t>(group)]; }
  /// True for a layer whose parameters stay as they are: its channels could not be followed.
  bool opaque(const std::string& node) const { return opaque_.count(node) > 0; }
  /// The scale factors that speak for a group.
  const std::vector<Gamma>& gammas(int group) const { return gammas_[static_cast<size_t>(group)]; }

 private:
  std::map<std::string, std::vector<int>> channels_;
  std::vector<bool> locked_;
  std::vector<std::vector<Gamma>> gammas_;
  std::set<std::string> opaque_;
};

/// The graph with an all-open selection behind every batch-norm that reads a value others read too, or whose
/// channels are locked (sums, under kSelect): there the batch-norm itself keeps its width. New nodes are
/// named
/// "<batch-norm>_select".
Graph WithSelections(const Graph& graph, const std::map<std::string, std::vector<int64_t>>& indexes);

/// The layer that alone reads a value, once, or null.
const Node* SoleReader(const Graph& graph, const std::string& value);

/// True when the only reader of a batch-norm is a selection; then its name is given.
bool IsSelected(const Graph& graph, const std::string& batch_norm, std::string* selection);

/// True for layers that mix their input channels: convolutions but depthwise ones, linear layers.
bool ReadsAll(const Node& node);

/// A whole-number attribute that the builder is known to set.
int64_t IntegerOf(const Node& node, const std::string& key, int64_t fallback);

}  // namespace torchvid
