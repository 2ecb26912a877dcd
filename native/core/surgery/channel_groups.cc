#include "core/surgery/channel_groups.h"

#include <numeric>
#include <set>

#include "core/error.h"

namespace torchvid {

namespace {

using Indexes = std::map<std::string, std::vector<int64_t>>;

/// Sets that are joined and never parted.
class UnionFind {
 public:
  int Make() {
    parent_.push_back(static_cast<int>(parent_.size()));
    return parent_.back();
  }
  int Find(int x) {
    while (parent_[static_cast<size_t>(x)] != x) {
      parent_[static_cast<size_t>(x)] = parent_[static_cast<size_t>(parent_[static_cast<size_t>(x)])];
      x = parent_[static_cast<size_t>(x)];
    }
    return x;
  }
  void Join(int a, int b) { parent_[static_cast<size_t>(Find(a))] = Find(b); }
  size_t size() const { return parent_.size(); }

 private:
  std::vector<int> parent_;
};

std::map<std::string, std::set<std::string>> ReadersOf(const Graph& graph) {
  std::map<std::string, std::set<std::string>> readers;
  for (const auto& node : graph.nodes) {
    for (const auto& input : node.inputs) readers[input].insert(node.name);
  }
  for (const auto& [output, node] : graph.outputs) readers[node].insert("output " + output);
  return readers;
}

/// Walks the graph once and gives every channel of every value a group.
class Walk {
 public:
  using Ids = std::vector<int>;

  Walk(const Graph& graph, const Indexes& indexes, PruneStrategy strategy)
      : graph_(graph), indexes_(indexes), strategy_(strategy) {
    const auto probes = Network::ProbeShapes(graph);
    for (const auto& [name, shape] : probes) shapes_[name] = shape;
    for (const auto& row : Network::Summarise(graph, probes)) shapes_[row.name] = row.output_shape;
    for (const auto& input : graph.inputs) ids_[input.name] = Locked(Channels(input.name));
    for (const auto& node : graph.nodes) ids_[node.name] = Output(node);
    for (const auto& [output, node] : graph.outputs) Lock(ids_[node]);
    for (size_t i = 0; i < graph.nodes.size(); ++i) {
      if (graph.nodes[i].op == "batchNorm") AddGammas(i);
    }
  }

  void Resolve(std::map<std::string, std::vector<int>>* channels, std::vector<bool>* locked,
               std::vector<std::vector<Gamma>>* gammas, std::set<std::string>* opaque) {
    *opaque = opaque_;
    std::vector<int> dense(sets_.size(), -1);
    int next = 0;
    for (auto& [name, ids] : ids_) {
      auto& row = (*channels)[name];
      for (const auto id : ids) {
        auto& place = dense[static_cast<size_t>(sets_.Find(id))];
        if (place < 0) place = next++;
        row.push_back(place);
      }
    }
    locked->assign(static_cast<size_t>(next), false);
    gammas->resize(static_cast<size_t>(next));
    for (const auto id : locked_)
      (*locked)[static_cast<size_t>(dense[static_cast<size_t>(sets_.Find(id))])] = true;
    for (const auto& [id, gamma] : gammas_)
      (*gammas)[static_cast<size_t>(dense[static_cast<size_t>(sets_.Find(id))])].push_back(gamma);
  }

 private:
  int64_t Rank(const std::string& value) const { return static_cast<int64_t>(shapes_.at(value).size()); }
  int64_t Channels(const std::string& value) const {
    const auto& shape = shapes_.at(value);
    return shape.size() < 2 ? 1 : shape[1];
  }
  Ids Fresh(int64_t count) {
    Ids ids(static_cast<size_t>(count));
    for (auto& id : ids) id = sets_.Make();
    return ids;
  }
  Ids Locked(int64_t count) {
    auto ids = Fresh(count);
    Lock(ids);
    return ids;
  }
  void Lock(const Ids& ids) { locked_.insert(locked_.end(), ids.begin(), ids.end()); }
  void Join(const Ids& a, const Ids& b) {
    for (size_t i = 0; i < a.size(); ++i) sets_.Join(a[i], b[i]);
  }

  Ids Output(const Node& node) {
    const auto& first = ids_.at(node.inputs[0]);
    switch (FindOp(node).flow) {
      case Flow::kFresh:
        return node.op == "linear" ? LinearOutput(node) : ConvolutionOutput(node);
      case Flow::kSame:
        return SameOutput(node);
      case Flow::kFirst:
        return first;
      case Flow::kConcat:
        return ConcatOutput(node);
      case Flow::kSelect: {
        const auto& picked = indexes_.at(node.name);
        if (strategy_ == PruneStrategy::kSelect) {
          // What is picked is cut on its own, and the stream before it stays.
          Lock(first);
          return Fresh(static_cast<int64_t>(picked.size()));
        }
        Ids ids;
        for (const auto channel : picked) ids.push_back(first[static_cast<size_t>(channel)]);
        return ids;
      }
      case Flow::kPad: {
        auto ids = Fresh(IntegerOf(node, "before", 0));
        ids.insert(ids.end(), first.begin(), first.end());
        const auto after = Fresh(IntegerOf(node, "after", 0));
        ids.insert(ids.end(), after.begin(), after.end());
        return ids;
      }
      case Flow::kFlatten:
        return FlattenOutput(node);
      case Flow::kOpaque:
        break;
    }
    return OpaqueOutput(node);
  }

  Ids OpaqueOutput(const Node& node) {
    for (const auto& input : node.inputs) Lock(ids_.at(input));
    opaque_.insert(node.name);
    return Locked(Channels(node.name));
  }

  /// Over (N, F) alone are the features the channels.
  Ids LinearOutput(const Node& node) {
    if (Rank(node.inputs[0]) != 2) return OpaqueOutput(node);
    return Fresh(Channels(node.name));
  }

  Ids ConvolutionOutput(const Node& node) {
    const auto& in = ids_.at(node.inputs[0]);
    const auto out = static_cast<size_t>(Channels(node.name));
    const auto groups = static_cast<size_t>(IntegerOf(node, "groups", 1));
    if (groups == 1) return Fresh(static_cast<int64_t>(out));
    if (groups == in.size()) {  // depthwise: each output channel rests on one input channel
      Ids ids;
      for (size_t i = 0; i < out; ++i) ids.push_back(in[i / (out / groups)]);
      return ids;
    }
    // Every group of a grouped convolution must stay as wide as the others: same places go together.
    const auto inside = in.size() / groups;
    for (size_t i = inside; i < in.size(); ++i) sets_.Join(in[i], in[i % inside]);
    const auto first = Fresh(static_cast<int64_t>(out / groups));
    Ids ids;
    for (size_t i = 0; i < out; ++i) ids.push_back(first[i % first.size()]);
    return ids;
  }

  Ids SameOutput(const Node& node) {
    const auto count = Channels(node.name);
    Ids ids;
    for (const auto& input : node.inputs) {
      const auto& own = ids_.at(input);
      if (static_cast<int64_t>(own.size()) != count ||
          (node.inputs.size() > 1 && Rank(input) != Rank(node.name))) {
        Lock(own);  // broadcast over the channels
      } else if (ids.empty()) {
        ids = own;
      } else {
        Join(own, ids);
      }
    }
    if (ids.empty()) ids = Locked(count);
    if (strategy_ == PruneStrategy::kSelect && node.inputs.size() > 1) Lock(ids);
    return ids;
  }

  Ids ConcatOutput(const Node& node) {
    if (IntegerOf(node, "dimension", 1) != 1) return SameOutput(node);
    Ids ids;
    for (const auto& input : node.inputs) {
      const auto& own = ids_.at(input);
      ids.insert(ids.end(), own.begin(), own.end());
    }
    return ids;
  }

  Ids FlattenOutput(const Node& node) {
    const auto& in = ids_.at(node.inputs[0]);
    if (IntegerOf(node, "start", 1) > 1) return in;
    if (IntegerOf(node, "start", 1) < 1) return OpaqueOutput(node);
    const auto repeats = Channels(node.name) / static_cast<int64_t>(in.size());
    Ids ids;
    for (const auto id : in) ids.insert(ids.end(), static_cast<size_t>(repeats), id);
    return ids;
  }

  void AddGammas(size_t index) {
    const auto& name = graph_.nodes[index].name;
    std::string selection;
    if (strategy_ == PruneStrategy::kSelect && IsSelected(graph_, name, &selection)) {
      const auto& picked = indexes_.at(selection);
      for (size_t i = 0; i < picked.size(); ++i)
        gammas_.emplace_back(ids_.at(selection)[i], Gamma{index, picked[i]});
      return;
    }
    const auto& ids = ids_.at(name);
    for (size_t i = 0; i < ids.size(); ++i)
      gammas_.emplace_back(ids[i], Gamma{index, static_cast<int64_t>(i)});
  }

  const Graph& graph_;
  const Indexes& indexes_;
  PruneStrategy strategy_;
  std::map<std::string, std::vector<int64_t>> shapes_;
  std::map<std::string, Ids> ids_;
  UnionFind sets_;
  Ids locked_;
  std::set<std::string> opaque_;
  std::vector<std::pair<int, Gamma>> gammas_;
};

}  // namespace

int64_t IntegerOf(const Node& node, const std::string& key, int64_t fallback) {
  return AttributeReader(node).Integer(key, fallback);
}

bool ReadsAll(const Node& node) {
  if (node.op == "linear") return true;
  if (node.op != "conv" && node.op != "convTranspose") return false;
  const auto groups = IntegerOf(node, "groups", 1);
  return groups == 1 || groups != IntegerOf(node, "in", 1);
}

const Node* SoleReader(const Graph& graph, const std::string& value) {
  const Node* reader = nullptr;
  for (const auto& node : graph.nodes) {
    for (const auto& input : node.inputs) {
      if (input != value) continue;
      if (reader != nullptr) return nullptr;
      reader = &node;
    }
  }
  for (const auto& [output, node] : graph.outputs) {
    if (node == value) return nullptr;
  }
  return reader;
}

bool IsSelected(const Graph& graph, const std::string& batch_norm, std::string* selection) {
  const auto* reader = SoleReader(graph, batch_norm);
  if (reader == nullptr || reader->op != "select") return false;
  *selection = reader->name;
  return true;
}

ChannelGroups::ChannelGroups(const Graph& graph, const Indexes& indexes, PruneStrategy strategy) {
  Walk(graph, indexes, strategy).Resolve(&channels_, &locked_, &gammas_, &opaque_);
}

Graph WithSelections(const Graph& graph, const Indexes& indexes) {
  const ChannelGroups groups(graph, indexes, PruneStrategy::kSelect);
  const auto readers = ReadersOf(graph);
  Graph result{graph.inputs, {}, graph.outputs};
  std::map<std::string, std::string> renamed;
  for (const auto& original : graph.nodes) {
    auto& node = result.nodes.emplace_back(original);
    for (auto& input : node.inputs) {
      if (const auto found = renamed.find(input); found != renamed.end()) input = found->second;
    }
    std::string selection;
    if (node.op != "batchNorm" || IsSelected(graph, node.name, &selection)) continue;
    const auto& channels = groups.of(node.name);
    bool shared = readers.at(original.inputs[0]).size() > 1;
    for (const auto group : channels) shared = shared || groups.locked(group);
    if (!shared) continue;
    const auto width = static_cast<double>(channels.size());
    Node select{"select", node.name + "_select", {node.name}, {{"channels", width}, {"out", width}}, {},
                false};
    renamed[original.name] = select.name;
    result.nodes.push_back(std::move(select));
  }
  for (auto& [output, node] : result.outputs) {
    if (const auto found = renamed.find(node); found != renamed.end()) node = found->second;
  }
  return result;
}

}  // namespace torchvid
