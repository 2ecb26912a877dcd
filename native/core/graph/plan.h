#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "core/graph/ops.h"

namespace torchvid {

/// A parameter or buffer of a network, by its state_dict name.
struct Entry {
  std::string name;
  at::Tensor tensor;
  bool trainable = false;
};

/// One node bound for execution: its row's kernel and where its parameters stand among the entries.
struct BoundNode {
  const Node* node;
  const Op* op;
  Kernel kernel;
  Kernel in_place;  // may be empty
  std::vector<size_t> entries;
};

/// What prepared parameters depend on: the values of the entries, and the layout of the maps they meet.
struct ParameterState {
  int64_t revision = -1;
  bool channels_last = false;
  bool operator==(const ParameterState&) const = default;
};

/// An order of execution for some outputs of a graph. Only what those outputs need is run, values are
/// released after their last use, and rewrites that keep the function are applied (plan_passes.cc).
class Plan {
 public:
  /// The parameters a step uses, made from the network's entries: gathered, or rewritten (folded batch-norm).
  using Prepare = std::function<TensorList(const std::vector<Entry>& entries)>;

  struct Step {
    const Node* node;
    std::vector<int> inputs;
    int output;
    Prepare prepare;
    Kernel kernel;
    Kernel in_place;
    bool output_free;
    std::vector<int> release;  // values no longer needed after this step
    TensorList prepared;       // kept between calls that do not train
    /// Brings what `prepare` gives into the order in memory that the kernel wants for such inputs. May be
    /// empty.
    std::function<TensorList(const TensorList& weights, const TensorList& inputs)> pack;
  };

  /// For what a plan is made.
  struct Purpose {
    bool training = false;
    /// Else the graph runs as it is written.
    bool rewrite = false;
    /// Inference on clips, channels last, with oneDNN.
    bool clips = false;
  };

  Plan(const Graph& graph, const std::vector<BoundNode>& bound, const std::vector<Entry>& entries,
       const std::vector<std::string>& outputs, const Purpose& purpose);

  /// Runs the steps. `inputs` in the graph's order; results in the order of the outputs asked for.
  /// `state` says which parameters there are: while it stays, prepared ones are reused.
  TensorList Run(const std::vector<Entry>& entries, const TensorList& inputs, const RunContext& context,
                 const ParameterState& state);

 private:
  friend class PlanPasses;
  void AssignReleases();
  int NewValue() { return values_++; }

  std::vector<Step> steps_;
  std::vector<int> outputs_;
  std::deque<Node> own_nodes_;  // nodes that a rewrite made
  int values_ = 0;
  ParameterState prepared_;
};

}  // namespace torchvid
