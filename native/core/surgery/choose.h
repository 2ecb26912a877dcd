#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "core/surgery/channel_groups.h"

namespace torchvid {

/// What every layer keeps, whatever the threshold says.
struct Floor {
  int64_t channels = 0;
  double share = 0;  // of the layer's channels

  int64_t Of(int64_t width) const {
    return std::min(std::max(channels, static_cast<int64_t>(std::ceil(share * static_cast<double>(width)))),
                    width);
  }
};

/// The choice of the groups that go, by their scores.
class Choice {
 public:
  /// `scores` as score.h has them.
  Choice(const Graph& graph, const ChannelGroups& groups, std::vector<double> scores);

  /// Groups that may go.
  int64_t candidates() const { return static_cast<int64_t>(sorted_.size()); }

  /// The score in place int(candidates * ratio) of all, in rising order: what is not above it goes.
  double Threshold(double ratio) const;

  /// Marks the groups whose score is not above `threshold`, less those that the floor or rounding up to a
  /// multiple of `round_to` keeps: the strongest of each batch-norm come back first. Adds to `rescued` the
  /// layers that the floor held, when it is given.
  std::vector<bool> Removed(double threshold, const Floor& floor, int64_t round_to,
                            std::vector<std::string>* rescued) const;

 private:
  /// The scored groups of a layer's output, strongest first, and how many channels of its own each has.
  struct Layer {
    std::string name;
    std::vector<int> groups;
    std::map<int, int64_t> width;
    int64_t whole = 0;  // channels in all
  };
  void Add(int group, Layer* layer) const;
  void AddLayer(const std::string& name, Layer layer);
  static int64_t Width(const Layer& layer, const std::vector<bool>& removed);
  static void Restore(const Layer& layer, int64_t at_least, int64_t multiple, std::vector<bool>* removed);

  std::vector<double> scores_;  // per group; infinite: not to be removed
  std::vector<double> sorted_;
  std::vector<Layer> layers_;
};

}  // namespace torchvid
