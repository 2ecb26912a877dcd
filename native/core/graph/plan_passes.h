#pragma once

#include "core/graph/plan.h"

namespace torchvid {

/// Rewrites of a plan that keep the function it computes.
class PlanPasses {
 public:
  PlanPasses(Plan* plan, const std::vector<BoundNode>& bound, const std::vector<Entry>& entries,
             bool training)
      : plan_(*plan), bound_(bound), entries_(entries), training_(training) {}

  /// Batch-norm with fixed statistics after a convolution becomes part of its weight and
  /// bias.
  void FoldBatchNorm();
  /// In inference, what is left of batch-norms becomes one pass over memory together with the selection and
  /// the ReLU behind it: a selection then costs an index, and channels that are not selected are never
  /// computed.
  void FuseNormalisation();
  /// A 1x1 convolution over concatenated maps that were upsampled by one fixed kernel per channel is done
  /// before the upsampling: upsampling is linear and acts on each channel alike, so the two commute. OSVOS's
  /// fuse layer then upsamples 1 channel per side instead of 16.
  void HoistPointwiseOverUpsampling();
  /// Convolutions over clips become oneDNN's, with the sum and the ReLU behind them. To come after
  /// FoldBatchNorm.
  void FuseClipConvolutions();
  /// Activations write over their input where nobody else reads it.
  void RunInPlace();

 private:
  const BoundNode& Bound(const Node* node) const;
  /// The step that makes `value` if it makes it for one reader alone, else null.
  const Plan::Step* SoleProducer(int value) const;
  int Readers(int value) const;
  /// The step of that op that alone reads `value`, or null.
  Plan::Step* SoleReader(int value, const std::string& op);
  /// The step that alone reads `value` and adds it to one other that is there before step `position`, or
  /// null.
  Plan::Step* SumAfter(int value, size_t position);
  /// True when a transposed convolution treats each channel by itself, and all alike.
  bool IsOneKernel(const at::Tensor& weight, int64_t groups) const;
  void HoistOne(size_t position);

  Plan& plan_;
  const std::vector<BoundNode>& bound_;
  const std::vector<Entry>& entries_;
  bool training_;
};

}  // namespace torchvid
