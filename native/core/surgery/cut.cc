#include "core/surgery/cut.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace torchvid {

namespace {

using Places = std::vector<int64_t>;

at::Tensor Gathered(const at::Tensor& tensor, int64_t dimension, const Places& places) {
  if (static_cast<int64_t>(places.size()) == tensor.size(dimension)) return tensor;
  return tensor.index_select(dimension, at::tensor(places, at::kLong).to(tensor.device()));
}

/// The places that lie in the first of `groups` equal parts of `width`.
Places FirstPart(const Places& places, int64_t width, int64_t groups) {
  Places first;
  for (const auto place : places) {
    if (place < width / groups) first.push_back(place);
  }
  return first;
}

at::Tensor CutConvolution(const Node& node, const at::Tensor& weight, const Places& in, const Places& out) {
  const bool transposed = node.op == "convTranspose";
  // A plain weight is (out, in / groups, ...), a transposed one (in, out / groups, ...).
  const auto rows = Gathered(weight, 0, transposed ? in : out);
  if (!ReadsAll(node)) return rows;
  const auto groups = IntegerOf(node, "groups", 1);
  return Gathered(rows, 1,
                  transposed ? FirstPart(out, IntegerOf(node, "out", 1), groups)
                             : FirstPart(in, IntegerOf(node, "in", 1), groups));
}

void CutAttributes(Node& node, const std::vector<Places>& in, const Places& out, const Places& before_all) {
  const auto set = [&](const char* key, size_t value) { node.attributes[key] = static_cast<double>(value); };
  if (node.op == "conv" || node.op == "convTranspose") {
    if (!ReadsAll(node)) set("groups", in[0].size());
    set("in", in[0].size());
    set("out", out.size());
  } else if (node.op == "linear") {
    set("in", in[0].size());
    set("out", out.size());
  } else if (node.op == "batchNorm") {
    set("channels", in[0].size());
  } else if (node.op == "select") {
    set("channels", in[0].size());
    set("out", out.size());
  } else if (node.op == "padChannels") {
    const auto first = IntegerOf(node, "before", 0);
    const auto before = std::count_if(out.begin(), out.end(), [&](auto place) { return place < first; });
    set("before", static_cast<size_t>(before));
    set("after", out.size() - static_cast<size_t>(before) - before_all.size());
  }
}

}  // namespace

Kept KeptChannels(const Graph& graph, const ChannelGroups& groups, const std::vector<bool>& removed) {
  Kept kept;
  const auto add = [&](const std::string& name) {
    const auto& channels = groups.of(name);
    auto& row = kept[name];
    for (size_t i = 0; i < channels.size(); ++i) {
      if (!removed[static_cast<size_t>(channels[i])]) row.push_back(static_cast<int64_t>(i));
    }
    return !row.empty();
  };
  for (const auto& input : graph.inputs) add(input.name);
  for (const auto& node : graph.nodes) {
    if (add(node.name)) continue;
    throw InvalidArgument(
        Describe(node) +
        " would lose every channel, and the network would die there. Lower the ratio, or give "
        "keepAtLeast.");
  }
  return kept;
}

Graph CutGraph(const Graph& graph, const ChannelGroups& groups, const Kept& kept,
               const std::set<std::string>& biased) {
  Graph result = graph;
  for (auto& node : result.nodes) {
    if (groups.opaque(node.name)) continue;
    std::vector<Places> in;
    for (const auto& input : node.inputs) in.push_back(kept.at(input));
    CutAttributes(node, in, kept.at(node.name), in[0]);
    if (biased.count(node.name) > 0) node.attributes["bias"] = true;
  }
  return result;
}

TensorMap CutTensors(const Graph& graph, const TensorMap& weights, const ChannelGroups& groups,
                     const Kept& kept) {
  TensorMap result;
  for (const auto& node : graph.nodes) {
    const auto& in = kept.at(node.inputs[0]);
    const auto& out = kept.at(node.name);
    const auto cut = [&](const std::string& name, auto function) {
      const auto found = weights.find(node.name + "." + name);
      if (found != weights.end()) result[found->first] = function(found->second).clone();
    };
    const auto by_out = [&](const at::Tensor& t) { return Gathered(t, 0, out); };
    if (groups.opaque(node.name)) {
      for (const auto* name : {"weight", "bias"}) cut(name, [](const at::Tensor& t) { return t; });
    } else if (node.op == "conv" || node.op == "convTranspose") {
      cut("weight", [&](const at::Tensor& t) { return CutConvolution(node, t, in, out); });
      cut("bias", by_out);
    } else if (node.op == "linear") {
      cut("weight", [&](const at::Tensor& t) { return Gathered(Gathered(t, 0, out), 1, in); });
      cut("bias", by_out);
    } else if (node.op == "batchNorm") {
      for (const auto* name : {"weight", "bias", "running_mean", "running_var"})
        cut(name, [&](const at::Tensor& t) { return Gathered(t, 0, in); });
      cut("num_batches_tracked", [](const at::Tensor& t) { return t; });
    } else if (node.op == "select") {
      const auto picked = weights.at(node.name + ".indexes").nonzero().flatten().to(at::kCPU);
      auto indexes = at::zeros_like(weights.at(node.name + ".indexes"));
      for (const auto place : out) indexes[picked[place].item<int64_t>()] = 1;
      result[node.name + ".indexes"] = Gathered(indexes, 0, in).clone();
    }
  }
  return result;
}

void Absorb(const Graph& graph, const TensorMap& weights, const ChannelGroups& groups,
            const std::vector<bool>& removed, const Moments& moments, const Kept& kept, TensorMap* tensors,
            std::set<std::string>* biased) {
  for (const auto& node : graph.nodes) {
    const auto& value = node.inputs[0];
    if (!ReadsAll(node) || groups.opaque(node.name)) continue;
    const auto lost = LostShift(node, weights, groups.of(value), removed, moments.at(value));
    if (!lost.defined()) continue;
    const auto& weight = weights.at(node.name + ".weight");
    const auto shift = Gathered(lost.to(weight.options()), 0, kept.at(node.name));
    const auto bias = tensors->find(node.name + ".bias");
    if (bias != tensors->end()) {
      bias->second.add_(shift);
    } else if (const auto* reader = SoleReader(graph, node.name);
               reader != nullptr && reader->op == "batchNorm") {
      tensors->at(reader->name + ".running_mean").sub_(shift);
    } else {
      (*tensors)[node.name + ".bias"] = shift.clone();
      biased->insert(node.name);
    }
  }
}

}  // namespace torchvid
