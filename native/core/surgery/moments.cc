#include "core/surgery/moments.h"

#include <cmath>
#include <numbers>

namespace torchvid {

namespace {

double Phi(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }
double Density(double x) { return std::exp(-0.5 * x * x) / std::sqrt(2 * std::numbers::pi); }

/// Mean of max(X, 0), X normal.
double ReluMean(double mean, double deviation) {
  if (deviation <= 0) return std::max(mean, 0.0);
  const double z = mean / deviation;
  return mean * Phi(z) + deviation * Density(z);
}

Moment Relu(const Moment& x) {
  if (!x.known) return x;
  const double mean = ReluMean(x.mean, x.deviation);
  if (x.deviation <= 0) return {mean, 0, true};
  const double z = x.mean / x.deviation;
  const double square =
      (x.mean * x.mean + x.deviation * x.deviation) * Phi(z) + x.mean * x.deviation * Density(z);
  return {mean, std::sqrt(std::max(square - mean * mean, 0.0)), true};
}

/// min(max(x, 0), 6) = relu(x) - relu(x - 6).
Moment Relu6(const Moment& x) {
  if (!x.known) return x;
  return {ReluMean(x.mean, x.deviation) - ReluMean(x.mean - 6, x.deviation), std::min(Relu(x).deviation, 3.0),
          true};
}

std::vector<double> Doubles(const at::Tensor& tensor) {
  const auto flat = tensor.detach().to(at::kCPU, at::kDouble).contiguous();
  return {flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel()};
}

/// The sum of a convolution's kernel for every pair of channels: (first dimension, second dimension).
at::Tensor KernelSums(const at::Tensor& weight) {
  const auto w = weight.detach().to(at::kCPU, at::kDouble);
  return w.dim() > 2 ? w.flatten(2).sum(2) : w;
}

/// True when a layer pads with zeros, where a constant input is no constant any more.
bool PadsZeros(const Node& node) {
  if (node.op == "linear" || node.op == "globalAveragePool") return false;
  AttributeReader attributes(node);
  const auto rank = attributes.RequiredList("kernel").size();
  if (attributes.IsText("padding")) return attributes.RequiredList("kernel") != std::vector<int64_t>(rank, 1);
  return attributes.List("padding", rank, 0) != std::vector<int64_t>(rank, 0) || node.op == "convTranspose";
}

class Follower {
 public:
  Follower(const TensorMap& weights, const ChannelGroups& groups, PruneStrategy strategy, bool fold)
      : weights_(weights),
        groups_(groups),
        fold_(fold),
        zero_sources_(!fold && strategy == PruneStrategy::kGroup) {}

  std::vector<Moment> Output(const Node& node, const Moments& values) const {
    const auto width = groups_.of(node.name).size();
    const auto& x = values.at(node.inputs[0]);
    switch (FindOp(node).flow) {
      case Flow::kFresh:
        // What a group cut takes out of a sum counts as zero where it is made; a selection leaves it alone.
        return ReadsAll(node) ? std::vector<Moment>(width, Moment{0, 0, zero_sources_})
                              : DepthwiseOutput(node, x);
      case Flow::kSame:
        return SameOutput(node, values, width);
      case Flow::kFirst:
        return x;
      case Flow::kConcat:
        return Joined(node, values, width);
      case Flow::kSelect:
        return Selected(node, x);
      case Flow::kPad: {
        std::vector<Moment> out(width, Moment{0, 0, true});
        const auto before = static_cast<size_t>(IntegerOf(node, "before", 0));
        for (size_t i = 0; i < x.size(); ++i) out[before + i] = x[i];
        return out;
      }
      case Flow::kFlatten: {
        std::vector<Moment> out;
        for (const auto& moment : x) out.insert(out.end(), width / x.size(), moment);
        return out;
      }
      case Flow::kOpaque:
        break;
    }
    return std::vector<Moment>(width);
  }

 private:
  /// Without fold everything must be exact, and zero padding makes a constant differ at the borders.
  bool Blurred(const Node& node, const Moment& in) const { return !fold_ && in.mean != 0 && PadsZeros(node); }

  /// Of padded maxima those with SAME padding see zeros, which are above a negative constant.
  static bool TakesZeros(const Node& node, const Moment& in) {
    return node.op == "maxPool" && in.mean < 0 && AttributeReader(node).IsText("padding");
  }

  std::vector<Moment> DepthwiseOutput(const Node& node, const std::vector<Moment>& x) const {
    const auto& weight = weights_.at(node.name + ".weight");
    const auto sums = Doubles(KernelSums(weight));
    const auto squares = Doubles(KernelSums(weight.square()));
    const auto bias = weights_.find(node.name + ".bias");
    const auto shift = bias == weights_.end() ? std::vector<double>(sums.size()) : Doubles(bias->second);
    std::vector<Moment> out;
    for (size_t i = 0; i < sums.size(); ++i) {
      const auto& in = x[i / (sums.size() / x.size())];
      out.push_back({in.mean * sums[i] + shift[i], in.deviation * std::sqrt(squares[i]),
                     in.known && !Blurred(node, in)});
    }
    return out;
  }

  std::vector<Moment> SameOutput(const Node& node, const Moments& values, size_t width) const {
    const auto& x = values.at(node.inputs[0]);
    if (node.op == "batchNorm") return Normalised(node, x);
    if (node.op == "add" || node.op == "multiply") return Combined(node, values, width);
    std::vector<Moment> out;
    for (const auto& moment : x) {
      if (node.op == "relu")
        out.push_back(Relu(moment));
      else if (node.op == "relu6")
        out.push_back(Relu6(moment));
      else if (node.op == "sigmoid")
        out.push_back({1 / (1 + std::exp(-moment.mean)), 0, moment.known});
      else if (node.op == "averagePool" || node.op == "globalAveragePool" || TakesZeros(node, moment))
        out.push_back({moment.mean, moment.deviation, moment.known && !Blurred(node, moment)});
      else
        out.push_back(moment);
    }
    return out;
  }

  std::vector<Moment> Normalised(const Node& node, const std::vector<Moment>& x) const {
    const auto read = [&](const char* name) { return Doubles(weights_.at(node.name + "." + name)); };
    const auto gamma = read("weight");
    const auto beta = read("bias");
    const auto mean = read("running_mean");
    const auto variance = read("running_var");
    const double epsilon = AttributeReader(node).Number("epsilon", 1e-5);
    std::vector<Moment> out;
    for (size_t i = 0; i < x.size(); ++i) {
      if (!fold_) {
        out.push_back({0, 0, true});
      } else if (!x[i].known || x[i].deviation > 0) {
        out.push_back({beta[i], std::abs(gamma[i]), true});
      } else {  // a constant: exactly
        const double scale = gamma[i] / std::sqrt(variance[i] + epsilon);
        out.push_back({(x[i].mean - mean[i]) * scale + beta[i], 0, true});
      }
    }
    return out;
  }

  std::vector<Moment> Combined(const Node& node, const Moments& values, size_t width) const {
    const bool sum = node.op == "add";
    std::vector<Moment> out(width, Moment{sum ? 0.0 : 1.0, 0, true});
    for (const auto& input : node.inputs) {
      const auto& x = values.at(input);
      for (size_t i = 0; i < width; ++i) {
        // What is broadcast over the channels stays, whatever channel goes: it is not known.
        const auto moment = x.size() == width ? x[i] : Moment{};
        out[i] = sum ? Sum(out[i], moment) : Product(out[i], moment);
      }
    }
    return out;
  }

  static Moment Sum(const Moment& a, const Moment& b) {
    return {a.mean + b.mean, std::hypot(a.deviation, b.deviation), a.known && b.known};
  }

  static Moment Product(const Moment& a, const Moment& b) {
    const auto is_zero = [](const Moment& x) { return x.known && x.mean == 0 && x.deviation == 0; };
    if (is_zero(a) || is_zero(b)) return {0, 0, true};
    return {a.mean * b.mean, 0, a.known && b.known};
  }

  static std::vector<Moment> Joined(const Node& node, const Moments& values, size_t width) {
    if (IntegerOf(node, "dimension", 1) != 1) return std::vector<Moment>(width);
    std::vector<Moment> out;
    for (const auto& input : node.inputs) {
      const auto& x = values.at(input);
      out.insert(out.end(), x.begin(), x.end());
    }
    return out;
  }

  std::vector<Moment> Selected(const Node& node, const std::vector<Moment>& x) const {
    const auto indexes = Doubles(weights_.at(node.name + ".indexes"));
    std::vector<Moment> out;
    for (size_t i = 0; i < x.size(); ++i) {
      if (indexes[i] != 0) out.push_back(x[i]);
    }
    return out;
  }

  const TensorMap& weights_;
  const ChannelGroups& groups_;
  bool fold_;
  bool zero_sources_;
};

}  // namespace

Moments FollowRemoved(const Graph& graph, const TensorMap& weights, const ChannelGroups& groups,
                      PruneStrategy strategy, bool fold) {
  Moments values;
  const Follower follower(weights, groups, strategy, fold);
  for (const auto& input : graph.inputs) values[input.name].resize(groups.of(input.name).size());
  for (const auto& node : graph.nodes) values[node.name] = follower.Output(node, values);
  return values;
}

std::vector<bool> Inexact(const Graph& graph, const ChannelGroups& groups, const Moments& moments) {
  std::vector<bool> inexact(groups.count());
  for (const auto& node : graph.nodes) {
    if (!ReadsAll(node) || groups.opaque(node.name)) continue;
    const auto& channels = groups.of(node.inputs[0]);
    const auto& x = moments.at(node.inputs[0]);
    for (size_t i = 0; i < channels.size(); ++i) {
      if (!x[i].known || (x[i].mean != 0 && PadsZeros(node)))
        inexact[static_cast<size_t>(channels[i])] = true;
    }
  }
  return inexact;
}

at::Tensor LostShift(const Node& node, const TensorMap& weights, const std::vector<int>& channels,
                     const std::vector<bool>& removed, const std::vector<Moment>& moments) {
  bool any = false;
  for (size_t i = 0; i < channels.size(); ++i) {
    any = any || (removed[static_cast<size_t>(channels[i])] && moments[i].known && moments[i].mean != 0);
  }
  if (!any) return {};
  auto sums = KernelSums(weights.at(node.name + ".weight"));
  const auto groups = static_cast<size_t>(node.op == "linear" ? 1 : IntegerOf(node, "groups", 1));
  if (node.op == "convTranspose") {
    // Outputs in the first dimension, as in a convolution. Every output pixel meets 1 / stride^n of the
    // kernel.
    std::vector<at::Tensor> parts;
    for (const auto& part : sums.chunk(static_cast<int64_t>(groups), 0)) parts.push_back(part.t());
    sums = at::cat(parts, 0);
    AttributeReader attributes(node);
    for (const auto stride : attributes.List("stride", attributes.RequiredList("kernel").size(), 1, 1))
      sums = sums / static_cast<double>(stride);
  }
  const auto inside = channels.size() / groups;
  auto means = at::zeros({static_cast<int64_t>(groups), static_cast<int64_t>(inside)}, at::kDouble);
  for (size_t i = 0; i < channels.size(); ++i) {
    if (removed[static_cast<size_t>(channels[i])] && moments[i].known)
      means[static_cast<int64_t>(i / inside)][static_cast<int64_t>(i % inside)] = moments[i].mean;
  }
  const auto per_group = sums.view({static_cast<int64_t>(groups), -1, static_cast<int64_t>(inside)});
  return per_group.matmul(means.unsqueeze(2)).flatten();
}

}  // namespace torchvid
