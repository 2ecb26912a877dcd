#include "core/surgery/choose.h"

#include <algorithm>

#include "core/surgery/score.h"

namespace torchvid {

Choice::Choice(const Graph& graph, const ChannelGroups& groups, std::vector<double> scores)
    : scores_(std::move(scores)) {
  std::map<size_t, Layer> norms;
  for (size_t i = 0; i < groups.count(); ++i) {
    const auto group = static_cast<int>(i);
    if (scores_[i] != kNever) sorted_.push_back(scores_[i]);
    for (const auto& [node, channel] : groups.gammas(group)) Add(group, &norms[node]);
  }
  std::sort(sorted_.begin(), sorted_.end());
  // Batch-norms first: where their floor holds, most others' does.
  for (auto& [node, layer] : norms) AddLayer(graph.nodes[node].name, std::move(layer));
  for (const auto& node : graph.nodes) {
    const auto flow = FindOp(node).flow;
    if (flow != Flow::kFresh && flow != Flow::kSelect) continue;
    Layer layer;
    for (const auto group : groups.of(node.name)) Add(group, &layer);
    AddLayer(node.name, std::move(layer));
  }
}

void Choice::Add(int group, Layer* layer) const {
  ++layer->whole;
  if (scores_[static_cast<size_t>(group)] == kNever) return;
  if (layer->width[group]++ == 0) layer->groups.push_back(group);
}

void Choice::AddLayer(const std::string& name, Layer layer) {
  if (layer.groups.empty()) return;
  layer.name = name;
  std::stable_sort(layer.groups.begin(), layer.groups.end(), [&](int a, int b) {
    return scores_[static_cast<size_t>(a)] > scores_[static_cast<size_t>(b)];
  });
  layers_.push_back(std::move(layer));
}

double Choice::Threshold(double ratio) const {
  if (sorted_.empty() || ratio <= 0) return -1;
  const auto place = static_cast<size_t>(static_cast<double>(sorted_.size()) * ratio);
  return sorted_[std::min(place, sorted_.size() - 1)];
}

int64_t Choice::Width(const Layer& layer, const std::vector<bool>& removed) {
  int64_t width = layer.whole;
  for (const auto& [group, channels] : layer.width) {
    if (removed[static_cast<size_t>(group)]) width -= channels;
  }
  return width;
}

void Choice::Restore(const Layer& layer, int64_t at_least, int64_t multiple, std::vector<bool>* removed) {
  auto width = Width(layer, *removed);
  for (const auto group : layer.groups) {
    if (width >= at_least && (width % multiple == 0 || width == layer.whole)) return;
    if (!(*removed)[static_cast<size_t>(group)]) continue;
    (*removed)[static_cast<size_t>(group)] = false;
    width += layer.width.at(group);
  }
}

std::vector<bool> Choice::Removed(double threshold, const Floor& floor, int64_t round_to,
                                  std::vector<std::string>* rescued) const {
  std::vector<bool> removed(scores_.size());
  for (size_t group = 0; group < scores_.size(); ++group) removed[group] = scores_[group] <= threshold;
  for (const auto& layer : layers_) {
    if (Width(layer, removed) >= floor.Of(layer.whole)) continue;
    if (rescued != nullptr) rescued->push_back(layer.name);
    Restore(layer, floor.Of(layer.whole), 1, &removed);
  }
  // What comes back for one layer widens those tied to it: again until nothing moves.
  for (auto before = std::vector<bool>(); before != removed;) {
    before = removed;
    for (const auto& layer : layers_) Restore(layer, floor.Of(layer.whole), round_to, &removed);
  }
  return removed;
}

}  // namespace torchvid
