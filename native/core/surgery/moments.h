#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/surgery/channel_groups.h"

namespace torchvid {

/// What is known of a channel that goes: its mean and standard deviation over pictures and pixels.
struct Moment {
  double mean = 0;
  double deviation = 0;
  /// False for what a convolution makes: its values are not known from the weights alone.
  bool known = false;
};

/// By value and channel.
using Moments = std::map<std::string, std::vector<Moment>>;

/// Follows the removed channels through the graph, from the batch-norms that make them. With `fold` a
/// batch-norm's channel is taken as normally distributed with mean beta and deviation |gamma|, and
/// activations have the means that follow from it (for gamma 0: relu(beta)); without, scale and shift of a
/// removed channel count as zero (Liu et al. 2017), and whatever is not zero later comes from biases and
/// sigmoids on the way. What is said of channels that stay is of no use.
Moments FollowRemoved(const Graph& graph, const TensorMap& weights, const ChannelGroups& groups,
                      PruneStrategy strategy, bool fold);

/// Groups whose removal would change more than their own constant share: where what they bring is not known,
/// or is a constant other than zero that meets zero padding.
std::vector<bool> Inexact(const Graph& graph, const ChannelGroups& groups, const Moments& moments);

/// What a layer's outputs lose when its removed inputs are left out: per output channel the sum over removed
/// input channels of mean times the kernel's sum. Undefined when nothing is lost.
at::Tensor LostShift(const Node& node, const TensorMap& weights, const std::vector<int>& channels,
                     const std::vector<bool>& removed, const std::vector<Moment>& moments);

}  // namespace torchvid
