#include "core/graph/network.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/autocast_mode.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <array>
#include <set>

#include "core/graph/init.h"
#include "core/graph/layout.h"
#include "core/graph/packed_convolution.h"
#include "core/torch_error.h"

namespace torchvid {

namespace {

/// Stands in for a free dimension while a graph is checked: the batch, then any size that pools and strides
/// take well.
constexpr int64_t kProbeSize = 64;

/// From so many pixels in a batch on, plans are rewritten in training too, and maps may be laid out with
/// channels last. Below, little is to be gained, and the graph as it is written, in the plain layout, gives
/// what a PyTorch program gives to the last bit. That matters for comparing runs: one activation that a
/// rounding error pushes across ReLU's corner is seen in all later steps.
constexpr int64_t kLargeFrom = 32768;

/// Multiply-accumulates per number in a map from which batches of small pictures are faster in the plain
/// layout: the convolutions' own blocked layouts then pay (VGG16 on 32x32: 370, PreResNet-56: 30).
constexpr int64_t kIntense = 200;

bool IsLarge(const at::Tensor& input) {
  return input.dim() == 4 && input.size(0) * input.size(2) * input.size(3) >= kLargeFrom;
}

/// True when a layer takes this input as maps: channels last is no gain to features that are only taken
/// apart.
bool FeedsMaps(const Graph& graph, const std::string& input) {
  constexpr std::array kOps{"conv",        "convTranspose", "batchNorm", "maxPool",
                            "averagePool", "concat",        "upsample",  "relu"};
  return std::any_of(graph.nodes.begin(), graph.nodes.end(), [&](const Node& node) {
    const bool reads = std::find(node.inputs.begin(), node.inputs.end(), input) != node.inputs.end();
    return reads && std::find(kOps.begin(), kOps.end(), node.op) != kOps.end();
  });
}

/// True when there are clips (N, C, T, H, W) among the inputs that oneDNN's convolutions may take as they
/// are.
bool TakesClips(const TensorMap& inputs) {
  const bool any =
      std::any_of(inputs.begin(), inputs.end(), [](const auto& input) { return input.second.dim() == 5; });
  return any && !c10::GradMode::is_enabled() && !at::autocast::is_autocast_enabled(at::kCPU) &&
         HasPackedConvolution();
}

/// True when channels last is the faster layout for a large input: convolution kernels then reorder nothing.
bool PrefersChannelsLast(const TensorMap& inputs, const std::vector<LayerSummary>& summary) {
  for (const auto& [name, input] : inputs) {
    if (input.dim() == 4 && input.size(2) * input.size(3) >= kLargeFrom) return true;
  }
  int64_t macs = 0;
  int64_t numbers = 1;
  for (const auto& row : summary) {
    macs += row.macs;
    numbers += row.activation_bytes / static_cast<int64_t>(sizeof(float));
  }
  return macs / numbers < kIntense;
}

template <typename Range, typename NameOf>
std::string Names(const Range& range, NameOf name_of) {
  std::string names;
  for (const auto& item : range) names += (names.empty() ? "'" : ", '") + std::string(name_of(item)) + "'";
  return names;
}

}  // namespace

std::string ShapeText(at::IntArrayRef shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i)
    text += (i ? ", " : "") + (shape[i] < 0 ? "any" : std::to_string(shape[i]));
  return text + "]";
}

std::shared_ptr<Network> Network::Create(Graph graph, uint64_t seed, at::Device device) {
  std::shared_ptr<Network> network(new Network(std::move(graph), device));
  network->Bind();
  network->AddEntries(seed);
  network->InferShapes(ProbeShapes(network->graph_), nullptr);
  return network;
}

std::vector<LayerSummary> Network::Summarise(Graph graph, const ShapeMap& shapes) {
  Network network(std::move(graph), at::kMeta);
  network.Bind();
  return network.Summarise(shapes);
}

ShapeMap Network::ProbeShapes(const Graph& graph) {
  ShapeMap shapes;
  for (const auto& input : graph.inputs) {
    auto shape = input.shape;
    for (size_t i = 0; i < shape.size(); ++i) {
      if (shape[i] < 0) shape[i] = i == 0 ? 1 : kProbeSize;
    }
    shapes[input.name] = shape;
  }
  return shapes;
}

std::shared_ptr<Network> Network::Clone() const {
  std::shared_ptr<Network> copy(new Network(graph_, device_));
  copy->Bind();
  c10::NoGradGuard no_grad;
  for (const auto& entry : entries_)
    copy->entries_.push_back({entry.name, entry.tensor.detach().clone(), entry.trainable});
  return copy;
}

std::shared_ptr<Network> Network::View(Graph graph) const {
  std::shared_ptr<Network> view(new Network(std::move(graph), device_));
  view->Bind();
  view->revision_ = revision_;
  view->plans_revision_ = *revision_;
  view->is_view_ = true;
  std::map<std::string, const Entry*> known;
  for (const auto& entry : entries_) known[entry.name] = &entry;
  for (size_t i = 0; i < view->graph_.nodes.size(); ++i) {
    const auto& node = view->graph_.nodes[i];
    for (const auto& spec : view->specs_[i]) {
      const auto name = node.name + "." + spec.name;
      const auto found = known.find(name);
      if (found == known.end()) {
        throw Error("ERR_CHECKPOINT_MISMATCH",
                    Describe(node) + ": the network has no tensor '" + name + "' to share.");
      }
      const auto& tensor = found->second->tensor;
      if (tensor.sizes() != at::IntArrayRef(spec.shape)) {
        throw Error("ERR_CHECKPOINT_MISMATCH", Describe(node) + ": the network's '" + name + "' has shape " +
                                                   ShapeText(tensor.sizes()) + ", wanted " +
                                                   ShapeText(spec.shape) + ".");
      }
      view->entries_.push_back({name, tensor, !spec.buffer && !node.frozen});
    }
  }
  view->InferShapes(ProbeShapes(view->graph_), nullptr);
  return view;
}

/// Checks names and wiring, and binds each node to its row of the op table.
void Network::Bind() {
  if (graph_.inputs.empty()) throw InvalidArgument("The graph has no input.");
  if (graph_.outputs.empty()) throw InvalidArgument("The graph has no output.");
  std::set<std::string> values;
  for (const auto& input : graph_.inputs) {
    if (!values.insert(input.name).second)
      throw InvalidArgument("Two inputs are named '" + input.name + "'.");
  }
  size_t next_entry = 0;
  for (const auto& node : graph_.nodes) {
    const auto& op = FindOp(node);
    for (const auto& input : node.inputs) {
      if (values.count(input) == 0) {
        throw InvalidArgument(Describe(node) + ": its input '" + input +
                              "' is neither an input of the graph nor a layer before it.");
      }
    }
    if (!values.insert(node.name).second)
      throw InvalidArgument(Describe(node) + ": the name is taken; names must be unique.");
    if (node.inputs.size() < op.min_inputs || node.inputs.size() > op.max_inputs) {
      throw InvalidArgument(Describe(node) + ": has " + std::to_string(node.inputs.size()) +
                            " inputs, wanted " + std::to_string(op.min_inputs) +
                            (op.max_inputs > op.min_inputs ? " or more." : "."));
    }
    AttributeReader attributes(node);
    BoundNode bound{&node, &op, {}, {}, {}};
    try {
      specs_.push_back(op.parameters(attributes));
      bound.kernel = op.bind(attributes);
      if (op.bind_in_place != nullptr) bound.in_place = op.bind_in_place(attributes);
    } catch (const Error& error) {
      const std::string message = error.what();
      throw Error(error.code(), message.rfind("layer '", 0) == 0 ? message : Describe(node) + ": " + message);
    }
    attributes.CheckAllUsed();
    for (size_t i = 0; i < specs_.back().size(); ++i) bound.entries.push_back(next_entry++);
    bound_.push_back(std::move(bound));
  }
  for (const auto& [name, node] : graph_.outputs) {
    if (values.count(node) == 0)
      throw InvalidArgument("Output '" + name + "' names layer '" + node + "', which does not exist.");
  }
}

void Network::AddEntries(uint64_t seed) {
  const auto generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  for (size_t i = 0; i < graph_.nodes.size(); ++i) {
    const auto& node = graph_.nodes[i];
    for (const auto& [parameter, init] : node.init) {
      bool known = false;
      for (const auto& spec : specs_[i]) known = known || spec.name == parameter;
      if (!known)
        throw InvalidArgument(Describe(node) + ": init names '" + parameter +
                              "', which this layer does not have.");
    }
    for (auto spec : specs_[i]) {
      if (const auto own = node.init.find(spec.name); own != node.init.end()) spec.init = own->second;
      try {
        entries_.push_back({node.name + "." + spec.name,
                            Placed(Initialise(spec, specs_[i][0].shape, generator)),
                            !spec.buffer && !node.frozen});
      } catch (const c10::Error& error) {
        throw FromTorch(error, Describe(node), "ERR_INVALID_ARGUMENT");
      } catch (const Error& error) {
        throw Error(error.code(), Describe(node) + ": " + error.what());
      }
    }
  }
}

at::Tensor Network::Placed(const at::Tensor& tensor) const {
  const auto placed = tensor.to(device_);
  return device_.is_cuda() ? placed.contiguous(ChannelsLastOf(placed)) : placed;
}

int64_t Network::bytes() const {
  if (is_view_) return 0;
  int64_t total = 0;
  for (const auto& entry : entries_) total += static_cast<int64_t>(entry.tensor.nbytes());
  return total;
}

const Entry& Network::entry(const std::string& name) const {
  for (const auto& entry : entries_) {
    if (entry.name == name) return entry;
  }
  throw InvalidArgument("There is no tensor '" + name +
                        "' in this network; parameters() lists those there are.");
}

void Network::CheckNotDisposed() const {
  if (disposed_) throw Error("ERR_DISPOSED", "The network was disposed. Create or open it again.");
}

void Network::CheckInputs(const TensorMap& inputs) const {
  const auto known = Names(graph_.inputs, [](const auto& input) { return input.name; });
  for (const auto& [name, tensor] : inputs) {
    bool found = false;
    for (const auto& input : graph_.inputs) found = found || input.name == name;
    if (!found) throw InvalidArgument("The network has no input '" + name + "'; its inputs: " + known + ".");
  }
  for (const auto& input : graph_.inputs) {
    const auto given = inputs.find(input.name);
    if (given == inputs.end())
      throw InvalidArgument("Input '" + input.name + "' is missing; the network takes " + known + ".");
    const auto shape = given->second.sizes();
    bool fits = shape.size() == input.shape.size();
    for (size_t i = 0; fits && i < shape.size(); ++i)
      fits = shape[i] > 0 && (input.shape[i] < 0 || input.shape[i] == shape[i]);
    if (!fits) {
      throw ShapeError("Input '" + input.name + "' has shape " + ShapeText(shape) + ", wanted " +
                       ShapeText(input.shape) + ".");
    }
  }
}

void Network::InferShapes(const ShapeMap& shapes, std::vector<LayerSummary>* summary) const {
  c10::NoGradGuard no_grad;
  const auto meta = at::TensorOptions().device(at::kMeta);
  TensorMap values;
  for (const auto& [name, shape] : shapes) values[name] = at::empty(shape, meta.dtype(at::kFloat));
  const RunContext context;
  for (const auto& bound : bound_) {
    TensorList inputs;
    for (const auto& input : bound.node->inputs) inputs.push_back(values.at(input));
    TensorList weights;
    LayerSummary row{bound.node->name, bound.node->op, {}, 0, 0, 0};
    for (const auto& spec : specs_[static_cast<size_t>(&bound - bound_.data())]) {
      weights.push_back(at::empty(spec.shape, meta.dtype(spec.integer ? at::kLong : at::kFloat)));
      if (!spec.buffer) row.parameters += weights.back().numel();
    }
    std::string given;
    for (const auto& input : inputs) given += (given.empty() ? "" : ", ") + ShapeText(input.sizes());
    try {
      const auto output = bound.kernel(inputs, weights, context);
      row.output_shape = output.sizes().vec();
      row.activation_bytes = static_cast<int64_t>(output.nbytes());
      if (bound.op->macs != nullptr) row.macs = bound.op->macs(*bound.node, inputs, weights, output);
      values[bound.node->name] = output;
    } catch (const c10::Error& error) {
      const auto known = FromTorch(error, Describe(*bound.node), "ERR_SHAPE");
      throw Error(known.code(), std::string(known.what()) + " Its input has shape " + given + ".");
    } catch (const Error& error) {
      throw Error(error.code(),
                  Describe(*bound.node) + ": " + error.what() + " Its input has shape " + given + ".");
    }
    if (summary != nullptr) summary->push_back(std::move(row));
  }
}

std::vector<LayerSummary> Network::Summarise(const ShapeMap& shapes) {
  CheckNotDisposed();
  TensorMap probes;
  for (const auto& [name, shape] : shapes)
    probes[name] = at::empty(shape, at::TensorOptions().device(at::kMeta));
  CheckInputs(probes);
  std::vector<LayerSummary> summary;
  InferShapes(shapes, &summary);
  return summary;
}

Plan& Network::PlanFor(const std::vector<std::string>& outputs, const Plan::Purpose& purpose) {
  if (plans_revision_ != *revision_) plans_.clear();  // a plan may rest on the values of frozen tensors
  plans_revision_ = *revision_;
  std::string key = purpose.training ? "training" : "inference";
  if (purpose.rewrite) key += ", rewritten";
  if (purpose.clips) key += ", clips";
  for (const auto& output : outputs) key += "\n" + output;
  auto& plan = plans_[key];
  if (!plan) plan = std::make_unique<Plan>(graph_, bound_, entries_, outputs, purpose);
  return *plan;
}

TensorMap Network::Forward(const TensorMap& inputs, const std::vector<std::string>& outputs,
                           const RunContext& context) {
  CheckNotDisposed();
  CheckInputs(inputs);
  std::vector<std::string> wanted = outputs;
  if (wanted.empty()) {
    for (const auto& [name, node] : graph_.outputs) wanted.push_back(name);
  }
  for (const auto& name : wanted) {
    bool found = false;
    for (const auto& [output, node] : graph_.outputs) found = found || output == name;
    if (!found) {
      throw InvalidArgument("The network has no output '" + name + "'; its outputs: " +
                            Names(graph_.outputs, [](const auto& output) { return output.first; }) + ".");
    }
  }
  std::string shape_key;
  ShapeMap shapes;
  for (const auto& [name, tensor] : inputs) {
    shapes[name] = tensor.sizes().vec();
    shape_key += name + ShapeText(tensor.sizes());
  }
  if (layouts_.count(shape_key) == 0) {
    std::vector<LayerSummary> summary;
    InferShapes(shapes, &summary);  // a wrong size fails here, before any memory is taken
    if (layouts_.size() > 64) layouts_.clear();
    layouts_[shape_key] = PrefersChannelsLast(inputs, summary);
  }
  const bool cuda = device_.is_cuda();
  const bool channels_last = cuda || layouts_[shape_key];
  const bool clips = !context.training && device_.is_cpu() && TakesClips(inputs);
  TensorList ordered;
  bool large = false;
  for (const auto& input : graph_.inputs) {
    auto tensor = inputs.at(input.name).to(device_);
    large = large || IsLarge(tensor);
    if (cuda ? FeedsMaps(graph_, input.name) : clips && tensor.dim() == 5) {
      tensor = tensor.contiguous(ChannelsLastOf(tensor));
    } else if (!cuda && IsLarge(tensor)) {
      tensor =
          tensor.contiguous(channels_last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous);
    }
    ordered.push_back(std::move(tensor));
  }
  const auto results = PlanFor(wanted, {context.training, large || !context.training, clips})
                           .Run(entries_, ordered, context, {*revision_, cuda || (large && channels_last)});
  CheckNotDisposed();
  TensorMap named;
  for (size_t i = 0; i < wanted.size(); ++i) named[wanted[i]] = results[i];
  return named;
}

}  // namespace torchvid
