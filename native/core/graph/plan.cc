#include "core/graph/plan.h"

#include <c10/core/GradMode.h>

#include <map>

#include "core/cancel.h"
#include "core/graph/layout.h"
#include "core/graph/plan_passes.h"
#include "core/torch_error.h"

namespace torchvid {

namespace {

/// Which nodes the wanted outputs depend on.
std::vector<bool> Needed(const Graph& graph, const std::map<std::string, size_t>& position,
                         const std::vector<std::string>& wanted_nodes) {
  std::vector<bool> needed(graph.nodes.size(), false);
  for (const auto& name : wanted_nodes) {
    if (const auto at = position.find(name); at != position.end()) needed[at->second] = true;
  }
  for (size_t i = graph.nodes.size(); i-- > 0;) {
    if (!needed[i]) continue;
    for (const auto& input : graph.nodes[i].inputs) {
      if (const auto at = position.find(input); at != position.end()) needed[at->second] = true;
    }
  }
  return needed;
}

/// Weights of convolutions in the layout of the maps they meet: of 2-D ones, on CUDA of 3-D ones too.
TensorList Laid(TensorList weights, bool channels_last) {
  if (!channels_last) return weights;
  for (auto& weight : weights) {
    if (weight.dim() == 4 || (weight.dim() == 5 && weight.is_cuda()))
      weight = weight.contiguous(ChannelsLastOf(weight));
  }
  return weights;
}

}  // namespace

Plan::Plan(const Graph& graph, const std::vector<BoundNode>& bound, const std::vector<Entry>& entries,
           const std::vector<std::string>& outputs, const Purpose& purpose) {
  std::map<std::string, int> value_of;
  for (const auto& input : graph.inputs) value_of[input.name] = NewValue();
  std::map<std::string, size_t> position;
  for (size_t i = 0; i < graph.nodes.size(); ++i) position[graph.nodes[i].name] = i;
  std::vector<std::string> wanted;
  for (const auto& output : outputs) {
    for (const auto& [name, node] : graph.outputs) {
      if (name == output) wanted.push_back(node);
    }
  }
  const auto needed = Needed(graph, position, wanted);
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    if (!needed[i]) continue;
    const auto& node = graph.nodes[i];
    Step step{&node, {}, NewValue(), {}, bound[i].kernel, bound[i].in_place, bound[i].op->output_free,
              {},    {}, {}};
    for (const auto& input : node.inputs) step.inputs.push_back(value_of.at(input));
    step.prepare = [indices = bound[i].entries](const std::vector<Entry>& all) {
      TensorList weights;
      weights.reserve(indices.size());
      for (const auto index : indices) weights.push_back(all[index].tensor);
      return weights;
    };
    value_of[node.name] = step.output;
    steps_.push_back(std::move(step));
  }
  for (const auto& name : wanted) outputs_.push_back(value_of.at(name));
  PlanPasses passes(this, bound, entries, purpose.training);
  if (purpose.rewrite) {
    passes.FoldBatchNorm();
    passes.FuseNormalisation();
    passes.HoistPointwiseOverUpsampling();
  }
  if (purpose.clips) passes.FuseClipConvolutions();
  passes.RunInPlace();
  AssignReleases();
}

void Plan::AssignReleases() {
  std::map<int, size_t> last_use;
  for (size_t i = 0; i < steps_.size(); ++i) {
    for (const auto value : steps_[i].inputs) last_use[value] = i;
  }
  for (const auto value : outputs_) last_use.erase(value);
  for (const auto& [value, step] : last_use) steps_[step].release.push_back(value);
}

TensorList Plan::Run(const std::vector<Entry>& entries, const TensorList& inputs, const RunContext& context,
                     const ParameterState& state) {
  const bool learning = c10::GradMode::is_enabled();
  const bool reuse = !learning && prepared_ == state;
  std::vector<at::Tensor> values(static_cast<size_t>(values_));
  for (size_t i = 0; i < inputs.size(); ++i) values[i] = inputs[i];
  TensorList arguments;
  for (auto& step : steps_) {
    ThrowIfCancelled();
    arguments.clear();
    for (const auto value : step.inputs) arguments.push_back(values[static_cast<size_t>(value)]);
    try {
      if (learning) {
        auto output = step.kernel(arguments, step.prepare(entries), context);
        // So that an abort need not wait for the whole backward pass.
        if (output.requires_grad()) output.register_hook([](const at::Tensor&) { ThrowIfCancelled(); });
        values[static_cast<size_t>(step.output)] = std::move(output);
      } else {
        if (!reuse) {
          step.prepared = Laid(step.prepare(entries), state.channels_last);
          if (step.pack) step.prepared = step.pack(step.prepared, arguments);
        }
        values[static_cast<size_t>(step.output)] = step.kernel(arguments, step.prepared, context);
      }
    } catch (const c10::Error& error) {
      throw FromTorch(error, Describe(*step.node), "ERR_SHAPE");
    }
    for (const auto value : step.release) values[static_cast<size_t>(value)].reset();
  }
  if (!learning) prepared_ = state;
  TensorList results;
  for (const auto value : outputs_) results.push_back(values[static_cast<size_t>(value)]);
  return results;
}

}  // namespace torchvid
