#pragma once

#include <limits>

#include "core/surgery/moments.h"

namespace torchvid {

/// The score of a group that must stay.
inline constexpr double kNever = std::numeric_limits<double>::infinity();

/// |gamma| of every batch-norm, by its place among the nodes.
using Scales = std::map<size_t, std::vector<double>>;

/// The score of every group that may go: one that is not locked and for which a batch-norm speaks. Infinite
/// for the rest. A group's greatest scale factor (kSelect: the references, whose groups have one) or their
/// mean (kGroup).
std::vector<double> ScaleScores(const ChannelGroups& groups, const Scales& scales, PruneStrategy strategy);

/// The same from what a group is worth where it is read: the share of the variance of a layer's outputs that
/// comes from its channels, summed over the layers that read it, per multiply-accumulate that goes with it.
/// Variances follow from the batch-norms (`moments` of a cut that folds), channels count as independent. With
/// `mean_lost` the channels' means go too, and count like variance. `macs`: of every layer, by name.
std::vector<double> VarianceScores(const Graph& graph, const TensorMap& weights, const ChannelGroups& groups,
                                   const Moments& moments, const std::map<std::string, int64_t>& macs,
                                   bool mean_lost);

}  // namespace torchvid
