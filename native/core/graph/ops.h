#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/graph/graph.h"

namespace torchvid {

using TensorList = std::vector<at::Tensor>;

/// What a layer may need to know while it runs.
struct RunContext {
  /// Batch statistics and dropout are live.
  bool training = false;
  /// Source of randomness (dropout); required when training.
  std::optional<at::Generator> generator;
};

/// Runs a layer: its inputs, its parameters in the order its row declares them.
using Kernel =
    std::function<at::Tensor(const TensorList& inputs, const TensorList& weights, const RunContext& context)>;

/// A parameter or buffer that a layer owns.
struct ParameterSpec {
  std::string name;
  std::vector<int64_t> shape;
  Init init;
  /// State that no optimiser touches (running statistics).
  bool buffer = false;
  /// int64 instead of float32 (counters).
  bool integer = false;
};

/// How a layer's output channels (dimension 1) come from those of its inputs: what surgery follows.
enum class Flow {
  kFresh,    // new ones, each made from all input channels of its group
  kSame,     // each from the channel of that number in every input
  kFirst,    // as the first input's; the others only lend their size
  kConcat,   // one input's after the other's
  kSelect,   // those that `indexes` picks
  kPad,      // zeros before and after
  kFlatten,  // each as many times as a map has pixels
  kOpaque,   // not to be followed: what goes in and comes out stays whole
};

/// One row of the op table: all that torchvid knows of a kind of layer.
struct Op {
  std::string_view name;
  size_t min_inputs;
  size_t max_inputs;
  std::vector<ParameterSpec> (*parameters)(AttributeReader& attributes);
  Kernel (*bind)(AttributeReader& attributes);
  /// Multiply-accumulates of one call, from shapes alone. Null: none.
  int64_t (*macs)(const Node& node, const TensorList& inputs, const TensorList& weights,
                  const at::Tensor& output);
  /// The same layer writing over its input, where that is allowed. Null: never.
  Kernel (*bind_in_place)(AttributeReader& attributes);
  /// The output is memory of its own that its backward does not read: the next layer may write over it.
  bool output_free;
  Flow flow;
};

/// Throws ERR_CHECKPOINT_MISMATCH unless a selection picks as many channels as its graph says.
void CheckSelected(int64_t selected, int64_t wanted);

/// The row of an op; throws ERR_INVALID_ARGUMENT that lists the ops there are.
const Op& FindOp(const Node& node);

}  // namespace torchvid
