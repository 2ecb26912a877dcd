#pragma once

#include "core/matching/propagation.h"
#include "core/train/objective.h"

namespace torchvid {

/// Following an object through clips (MakeClips) with a matching network, its own answers becoming the
/// memory: per frame, the cross-entropy of the hardest quarter of the pixels plus 1 - Dice (Milletari et al.
/// 2016), meaned over frames and clips. Parts: `crossEntropy`, `dice` (1 - Dice) and `jaccard` (no part of
/// the sum: how well it does).
class PropagationObjective : public Objective {
 public:
  /// The graphs of the network's two halves; see Matcher.
  PropagationObjective(const Network& network, Graph encoder, Graph decoder);
  Loss Run(Network& network, const Batch& batch, const PassContext& context) override;

 private:
  Matcher matcher_;
};

}  // namespace torchvid
