#pragma once

#include <set>

#include "core/surgery/moments.h"

namespace torchvid {

/// Per value, the channels that stay, in order.
using Kept = std::map<std::string, std::vector<int64_t>>;

/// Throws ERR_INVALID_ARGUMENT naming the layer when a value would lose every channel.
Kept KeptChannels(const Graph& graph, const ChannelGroups& groups, const std::vector<bool>& removed);

/// The graph with narrower layers: attributes alone, no tensor. `biased`: layers that get a bias they did not
/// have.
Graph CutGraph(const Graph& graph, const ChannelGroups& groups, const Kept& kept,
               const std::set<std::string>& biased);

/// The tensors of the narrower layers, gathered from the old ones.
TensorMap CutTensors(const Graph& graph, const TensorMap& weights, const ChannelGroups& groups,
                     const Kept& kept);

/// Hands what the removed channels used to contribute to what follows: to a layer's bias, else to the running
/// mean of the batch-norm that alone reads it, else to a bias made for it (its name goes into `biased`).
/// `tensors`: the narrower layers'.
void Absorb(const Graph& graph, const TensorMap& weights, const ChannelGroups& groups,
            const std::vector<bool>& removed, const Moments& moments, const Kept& kept, TensorMap* tensors,
            std::set<std::string>* biased);

}  // namespace torchvid
