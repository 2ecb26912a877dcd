#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/graph/plan.h"

namespace torchvid {

using TensorMap = std::map<std::string, at::Tensor>;
using ShapeMap = std::map<std::string, std::vector<int64_t>>;

/// What one layer costs at given input shapes.
struct LayerSummary {
  std::string name;
  std::string op;
  std::vector<int64_t> output_shape;
  int64_t parameters = 0;
  int64_t macs = 0;
  int64_t activation_bytes = 0;
};

/// A graph with its tensors on a device. All methods but `Dispose` and the const getters belong to the engine
/// thread.
class Network {
 public:
  /// Builds the network: every op and attribute is checked, shapes are inferred on meta tensors for the
  /// declared inputs, parameters are drawn from `seed` alone. Throws ERR_INVALID_ARGUMENT or ERR_SHAPE naming
  /// the layer.
  static std::shared_ptr<Network> Create(Graph graph, uint64_t seed, at::Device device);

  /// Same graph, copied tensors.
  std::shared_ptr<Network> Clone() const;

  /// Another graph over this network's own tensors: each of its parameters is this network's of that name,
  /// shared, so both see what either changes. Throws ERR_CHECKPOINT_MISMATCH naming a tensor that this
  /// network lacks or has in another shape.
  std::shared_ptr<Network> View(Graph graph) const;

  const Graph& graph() const { return graph_; }
  const std::vector<Entry>& entries() const { return entries_; }
  at::Device device() const { return device_; }
  /// Of the tensors it owns: none for a view.
  int64_t bytes() const;

  /// The tensor of that state_dict name; throws ERR_INVALID_ARGUMENT.
  const Entry& entry(const std::string& name) const;

  /// Runs the network. `inputs` by name, on any device; every input of the graph and no other. `outputs`:
  /// names, all when empty. Gradients are recorded when grad mode is on. Throws ERR_SHAPE,
  /// ERR_INVALID_ARGUMENT, ERR_DISPOSED.
  TensorMap Forward(const TensorMap& inputs, const std::vector<std::string>& outputs,
                    const RunContext& context);

  /// Per layer, in order, from shapes alone.
  std::vector<LayerSummary> Summarise(const ShapeMap& shapes);

  /// The same for a graph alone: no parameter is made.
  static std::vector<LayerSummary> Summarise(Graph graph, const ShapeMap& shapes);

  /// The inputs' declared shapes, a batch of one, with 64 for every other free size.
  static ShapeMap ProbeShapes(const Graph& graph);

  /// To be called after tensors were changed: whatever was derived from them, here and in views, is stale.
  void Touch() { ++*revision_; }

  /// Marks the network as gone; calls under way and later ones throw ERR_DISPOSED.
  void Dispose() { disposed_ = true; }
  void CheckNotDisposed() const;

 private:
  Network(Graph graph, at::Device device) : graph_(std::move(graph)), device_(device) {}
  void Bind();
  void AddEntries(uint64_t seed);
  void CheckInputs(const TensorMap& inputs) const;
  /// Runs every node on meta tensors; fills `summary` when given.
  void InferShapes(const ShapeMap& shapes, std::vector<LayerSummary>* summary) const;
  /// The tensor of a parameter as this network keeps it: on its device, in the layout that its maps have
  /// there.
  at::Tensor Placed(const at::Tensor& tensor) const;
  Plan& PlanFor(const std::vector<std::string>& outputs, const Plan::Purpose& purpose);

  Graph graph_;
  at::Device device_;
  std::vector<BoundNode> bound_;
  std::vector<std::vector<ParameterSpec>> specs_;
  std::vector<Entry> entries_;
  std::map<std::string, std::unique_ptr<Plan>> plans_;
  /// By input shapes: whether large maps are laid out with channels last (CPU; on CUDA all are).
  std::map<std::string, bool> layouts_;
  /// Counts the changes of the tensors; one counter for all networks that share them.
  std::shared_ptr<int64_t> revision_ = std::make_shared<int64_t>(0);
  int64_t plans_revision_ = 0;
  bool is_view_ = false;
  std::atomic<bool> disposed_{false};
};

/// "[1, 3, 480, 854]"
std::string ShapeText(at::IntArrayRef shape);

}  // namespace torchvid
