#include "core/graph/plan_passes.h"

#include <algorithm>

#include "core/graph/normalise.h"
#include "core/graph/packed_convolution.h"

namespace torchvid {

namespace {

/// The output of a step that another has taken over.
constexpr int kGone = -1;

}  // namespace

const BoundNode& PlanPasses::Bound(const Node* node) const {
  return *std::find_if(bound_.begin(), bound_.end(), [&](const BoundNode& b) { return b.node == node; });
}

int PlanPasses::Readers(int value) const {
  auto count = std::count(plan_.outputs_.begin(), plan_.outputs_.end(), value);
  for (const auto& step : plan_.steps_) count += std::count(step.inputs.begin(), step.inputs.end(), value);
  return static_cast<int>(count);
}

const Plan::Step* PlanPasses::SoleProducer(int value) const {
  if (Readers(value) != 1) return nullptr;
  for (const auto& step : plan_.steps_) {
    if (step.output == value) return &step;
  }
  return nullptr;
}

void PlanPasses::FoldBatchNorm() {
  for (size_t i = 0; i < plan_.steps_.size();) {
    const auto& norm = plan_.steps_[i];
    const auto* producer = norm.node->op == "batchNorm" ? SoleProducer(norm.inputs[0]) : nullptr;
    AttributeReader attributes(*norm.node);
    const bool fixed = !training_ || attributes.Flag("fixedStatistics", false);
    if (producer == nullptr || !fixed || producer->node->op != "conv") {
      ++i;
      continue;
    }
    auto& target = plan_.steps_[static_cast<size_t>(producer - plan_.steps_.data())];
    const double epsilon = attributes.Number("epsilon", 1e-5);
    target.prepare = [weights = target.prepare, norms = norm.prepare,
                      epsilon](const std::vector<Entry>& entries) {
      const auto w = weights(entries);
      const auto n = norms(entries);  // gamma, beta, running mean, running variance
      const auto scale = n[0] * (n[3] + epsilon).rsqrt();
      std::vector<int64_t> per_output(static_cast<size_t>(w[0].dim()), 1);
      per_output[0] = -1;
      const auto shift = n[1] - n[2] * scale;
      return TensorList{w[0] * scale.view(per_output), w.size() > 1 ? w[1] * scale + shift : shift};
    };
    target.output = norm.output;
    plan_.steps_.erase(plan_.steps_.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

Plan::Step* PlanPasses::SoleReader(int value, const std::string& op) {
  if (Readers(value) != 1) return nullptr;
  for (auto& step : plan_.steps_) {
    if (step.node->op == op && step.inputs[0] == value) return &step;
  }
  return nullptr;
}

void PlanPasses::FuseNormalisation() {
  if (training_) return;
  for (auto& norm : plan_.steps_) {
    if (norm.node->op != "batchNorm") continue;
    auto* select = SoleReader(norm.output, "select");
    auto* last = select == nullptr ? &norm : select;
    auto* relu = SoleReader(last->output, "relu");
    if (relu != nullptr) last = relu;
    const double epsilon = AttributeReader(*norm.node).Number("epsilon", 1e-5);
    // Prepared: factor and summand per channel, and the channels selected.
    norm.prepare = [norms = norm.prepare, masks = select == nullptr ? Plan::Prepare() : select->prepare,
                    epsilon](const std::vector<Entry>& entries) {
      const auto n = norms(entries);  // gamma, beta, running mean, running variance
      auto scale = n[0] * (n[3] + epsilon).rsqrt();
      auto shift = n[1] - n[2] * scale;
      if (!masks) return TensorList{scale.contiguous(), shift.contiguous()};
      const auto index = masks(entries)[0].nonzero().flatten();
      if (index.size(0) == scale.size(0)) return TensorList{scale.contiguous(), shift.contiguous()};
      return TensorList{scale.index_select(0, index), shift.index_select(0, index), index};
    };
    norm.kernel = [wanted = select == nullptr ? -1 : AttributeReader(*select->node).Integer("out", 1),
                   rectified = relu != nullptr](const TensorList& x, const TensorList& w, const RunContext&) {
      if (wanted >= 0) CheckSelected(w[0].size(0), wanted);
      return Normalise(x[0], {w[0], w[1], w.size() > 2 ? w[2] : at::Tensor(), rectified});
    };
    norm.in_place = nullptr;
    norm.output_free = true;
    norm.output = last->output;
    for (auto* step : {select, relu}) {
      if (step != nullptr) step->output = kGone;
    }
  }
  std::erase_if(plan_.steps_, [](const Plan::Step& step) { return step.output == kGone; });
}

bool PlanPasses::IsOneKernel(const at::Tensor& weight, int64_t groups) const {
  const auto channels = weight.size(0);
  if (groups == channels) return at::equal(weight, weight.narrow(0, 0, 1).expand_as(weight));
  if (groups != 1) return false;
  const auto expected = at::zeros_like(weight);
  for (int64_t i = 0; i < channels; ++i) expected[i][i].copy_(weight[0][0]);
  return at::equal(weight, expected);
}

void PlanPasses::HoistPointwiseOverUpsampling() {
  for (size_t i = 0; i < plan_.steps_.size(); ++i) {
    if (plan_.steps_[i].node->op == "conv") HoistOne(i);
  }
}

void PlanPasses::HoistOne(size_t position) {
  const auto fuse = plan_.steps_[position];
  AttributeReader attributes(*fuse.node);
  const auto ones = [](const std::vector<int64_t>& v) {
    return std::all_of(v.begin(), v.end(), [](auto x) { return x == 1; });
  };
  const auto kernel = attributes.RequiredList("kernel");
  if (kernel.size() != 2 || !ones(kernel) || !ones(attributes.List("stride", 2, 1)) ||
      attributes.IsText("padding") || attributes.List("padding", 2, 0) != std::vector<int64_t>{0, 0} ||
      attributes.Integer("groups", 1) != 1) {
    return;
  }
  const auto* concat = SoleProducer(fuse.inputs[0]);
  if (concat == nullptr || concat->node->op != "concat" ||
      AttributeReader(*concat->node).Integer("dimension", 1) != 1)
    return;

  struct Branch {
    Plan::Step upsample;
    std::optional<Plan::Step> crop;
    int64_t channels;
  };
  const auto out = attributes.RequiredInteger("out");
  std::vector<Branch> branches;
  std::vector<int> replaced{concat->output};
  for (const auto value : concat->inputs) {
    const auto* step = SoleProducer(value);
    std::optional<Plan::Step> crop;
    if (step != nullptr && step->node->op == "crop") {
      crop = *step;
      replaced.push_back(step->output);
      step = SoleProducer(step->inputs[0]);
    }
    if (step == nullptr || step->node->op != "convTranspose" || !step->node->frozen) return;
    AttributeReader a(*step->node);
    const auto channels = a.RequiredInteger("in");
    const auto& weight = entries_[Bound(step->node).entries[0]].tensor;
    if (a.RequiredInteger("out") != channels || a.Flag("bias", true) || out > channels ||
        !IsOneKernel(weight, a.Integer("groups", 1))) {
      return;
    }
    replaced.push_back(step->output);
    branches.push_back({*step, crop, channels});
  }

  std::vector<Plan::Step> made;
  std::vector<int> parts;
  int64_t offset = 0;
  for (const auto& branch : branches) {
    Plan::Step pointwise = fuse;
    pointwise.inputs = {branch.upsample.inputs[0]};
    pointwise.output = plan_.NewValue();
    pointwise.prepare = [prepare = fuse.prepare, offset,
                         n = branch.channels](const std::vector<Entry>& entries) {
      return TensorList{prepare(entries)[0].narrow(1, offset, n)};
    };
    offset += branch.channels;

    Plan::Step upsample = branch.upsample;
    auto& node = plan_.own_nodes_.emplace_back(*branch.upsample.node);
    for (const auto* key : {"in", "out", "groups"}) node.attributes[key] = static_cast<double>(out);
    AttributeReader a(node);
    upsample.node = &node;
    upsample.kernel = FindOp(node).bind(a);
    upsample.inputs = {pointwise.output};
    upsample.output = plan_.NewValue();
    upsample.prepare = [prepare = branch.upsample.prepare, out](const std::vector<Entry>& entries) {
      return TensorList{
          prepare(entries)[0].narrow(0, 0, 1).narrow(1, 0, 1).expand({out, -1, -1, -1}).contiguous()};
    };
    parts.push_back(upsample.output);
    made.push_back(std::move(pointwise));
    made.push_back(std::move(upsample));
    if (branch.crop) {
      Plan::Step crop = *branch.crop;
      crop.inputs[0] = parts.back();
      crop.output = parts.back() = plan_.NewValue();
      made.push_back(std::move(crop));
    }
  }
  Plan::Step sum = fuse;
  sum.inputs = parts;
  sum.kernel = [](const TensorList& inputs, const TensorList& bias, const RunContext&) {
    auto total = inputs[0];
    for (size_t i = 1; i < inputs.size(); ++i) total = total + inputs[i];
    return bias.empty() ? total : total + bias[0].view({1, -1, 1, 1});
  };
  sum.prepare = [prepare = fuse.prepare](const std::vector<Entry>& entries) {
    auto weights = prepare(entries);
    weights.erase(weights.begin());
    return weights;
  };
  made.push_back(std::move(sum));

  plan_.steps_.erase(plan_.steps_.begin() + static_cast<std::ptrdiff_t>(position));
  plan_.steps_.insert(plan_.steps_.begin() + static_cast<std::ptrdiff_t>(position), made.begin(), made.end());
  std::erase_if(plan_.steps_, [&](const Plan::Step& step) {
    return std::find(replaced.begin(), replaced.end(), step.output) != replaced.end();
  });
}

Plan::Step* PlanPasses::SumAfter(int value, size_t position) {
  if (Readers(value) != 1) return nullptr;
  for (size_t i = position + 1; i < plan_.steps_.size(); ++i) {
    auto& step = plan_.steps_[i];
    if (step.node->op != "add" || step.inputs.size() != 2) continue;
    if (step.inputs[0] != value && step.inputs[1] != value) continue;
    const auto other = step.inputs[step.inputs[0] == value ? 1 : 0];
    for (size_t later = position; later < i; ++later) {
      if (plan_.steps_[later].output == other) return nullptr;
    }
    return &step;
  }
  return nullptr;
}

void PlanPasses::FuseClipConvolutions() {
  for (size_t i = 0; i < plan_.steps_.size(); ++i) {
    auto& step = plan_.steps_[i];
    if (step.node->op != "conv" || step.output == kGone) continue;
    AttributeReader attributes(*step.node);
    const auto settings = ReadConvolution(attributes);
    if (settings.kernel.size() != 3) continue;
    auto* sum = SumAfter(step.output, i);
    auto* last = sum == nullptr ? &step : sum;
    auto* relu = SoleReader(last->output, "relu");
    if (relu != nullptr) last = relu;
    const PackedConvolution packed{settings, sum != nullptr, relu != nullptr};
    if (sum != nullptr) step.inputs.push_back(sum->inputs[sum->inputs[0] == step.output ? 1 : 0]);
    step.pack = [packed](const TensorList& weights, const TensorList& inputs) {
      return packed.Pack(weights, inputs[0]);
    };
    step.kernel = [packed](const TensorList& inputs, const TensorList& weights, const RunContext&) {
      return packed(inputs, weights);
    };
    step.output_free = relu == nullptr;
    step.output = last->output;
    for (auto* gone : {sum, relu}) {
      if (gone == nullptr) continue;
      gone->inputs = {kGone};
      gone->output = kGone;
    }
  }
  std::erase_if(plan_.steps_, [](const Plan::Step& step) { return step.output == kGone; });
}

void PlanPasses::RunInPlace() {
  for (auto& step : plan_.steps_) {
    if (!step.in_place) continue;
    const auto* producer = SoleProducer(step.inputs[0]);
    if (producer != nullptr && producer->output_free) step.kernel = step.in_place;
  }
}

}  // namespace torchvid
