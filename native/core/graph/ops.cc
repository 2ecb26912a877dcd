#include "core/graph/ops.h"

#include <ATen/autocast_mode.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <memory>

#include "core/error.h"
#include "core/graph/attention.h"
#include "core/graph/convolution.h"
#include "core/graph/dropout.h"
#include "core/graph/pooling.h"
#include "core/graph/shape_ops.h"
#include "core/graph/time_convolution.h"
#include "core/graph/upsample.h"

namespace torchvid {

namespace {

using Attributes = AttributeReader;

std::vector<ParameterSpec> NoParameters(Attributes&) { return {}; }

// ---- convolution, linear
// -----------------------------------------------------------------------------------

/// PyTorch's default: uniform within 1/sqrt(fan_in), for the weight and the bias.
Init DefaultInit() { return {"kaimingUniform", 0}; }

std::vector<ParameterSpec> WeightAndBias(std::vector<int64_t> shape, int64_t outputs, bool bias) {
  std::vector<ParameterSpec> specs{{"weight", std::move(shape), DefaultInit()}};
  if (bias) specs.push_back({"bias", {outputs}, DefaultInit()});
  return specs;
}

std::vector<ParameterSpec> ConvParameters(Attributes& a) {
  const auto in = a.RequiredInteger("in");
  const auto out = a.RequiredInteger("out");
  const auto groups = a.Integer("groups", 1, 1);
  const auto kernel = a.RequiredList("kernel");
  if (in % groups != 0 || out % groups != 0) {
    throw InvalidArgument("groups (" + std::to_string(groups) + ") must divide in (" + std::to_string(in) +
                          ") and out (" + std::to_string(out) + ").");
  }
  std::vector<int64_t> shape{out, in / groups};
  shape.insert(shape.end(), kernel.begin(), kernel.end());
  return WeightAndBias(shape, out, a.Flag("bias", true));
}

/// Whether a convolution over time is one that ConvolveByTime does.
bool RunsByTime(const Convolution& convolution, const at::Tensor& x) {
  return convolution.stride == std::vector<int64_t>{1} && convolution.groups == 1 && x.is_cpu() &&
         x.scalar_type() == at::kFloat && !at::autocast::is_autocast_enabled(at::kCPU) && LiesByTime(x);
}

Kernel BindConv(Attributes& a) {
  const auto settings = ReadConvolution(a);
  const auto& convolution = settings.convolution;
  if (settings.same) {
    return [=](const TensorList& inputs, const TensorList& weights, const RunContext&) {
      auto padding = convolution.padding;
      const auto x = PadSame(inputs[0], settings.kernel, convolution, &padding);
      return convolution(x, weights, padding);
    };
  }
  return [=](const TensorList& inputs, const TensorList& weights, const RunContext&) {
    if (RunsByTime(convolution, inputs[0]))
      return ConvolveByTime(inputs[0], weights[0], BiasOf(weights), convolution.padding[0],
                            convolution.dilation[0]);
    return convolution(inputs[0], weights, convolution.padding);
  };
}

int64_t ConvMacs(const Node&, const TensorList&, const TensorList& weights, const at::Tensor& output) {
  return weights[0].numel() * output.numel() / std::max<int64_t>(output.size(1), 1);
}

std::vector<ParameterSpec> ConvTransposeParameters(Attributes& a) {
  const auto in = a.RequiredInteger("in");
  const auto out = a.RequiredInteger("out");
  const auto groups = a.Integer("groups", 1, 1);
  const auto kernel = a.RequiredList("kernel");
  if (in % groups != 0 || out % groups != 0) throw InvalidArgument("groups must divide in and out.");
  std::vector<int64_t> shape{in, out / groups};
  shape.insert(shape.end(), kernel.begin(), kernel.end());
  return WeightAndBias(shape, out, a.Flag("bias", true));
}

Kernel BindConvTranspose(Attributes& a) {
  const size_t rank = a.RequiredList("kernel").size();
  const Convolution convolution{a.List("stride", rank, 1, 1),
                                a.List("padding", rank, 0),
                                a.List("dilation", rank, 1, 1),
                                a.List("outputPadding", rank, 0),
                                true,
                                a.Integer("groups", 1, 1)};
  return [=](const TensorList& inputs, const TensorList& weights, const RunContext&) {
    return convolution(inputs[0], weights, convolution.padding);
  };
}

int64_t ConvTransposeMacs(const Node&, const TensorList& inputs, const TensorList& weights,
                          const at::Tensor&) {
  return weights[0].numel() * inputs[0].numel() / std::max<int64_t>(inputs[0].size(1), 1);
}

std::vector<ParameterSpec> LinearParameters(Attributes& a) {
  const auto in = a.RequiredInteger("in");
  const auto out = a.RequiredInteger("out");
  return WeightAndBias({out, in}, out, a.Flag("bias", true));
}

Kernel BindLinear(Attributes&) {
  return [](const TensorList& inputs, const TensorList& weights, const RunContext&) {
    return at::linear(inputs[0], weights[0], BiasOf(weights));
  };
}

int64_t LinearMacs(const Node&, const TensorList&, const TensorList& weights, const at::Tensor& output) {
  return weights[0].size(1) * output.numel();
}

// ---- normalisation
// -----------------------------------------------------------------------------------------

std::vector<ParameterSpec> BatchNormParameters(Attributes& a) {
  const auto channels = a.RequiredInteger("channels");
  return {{"weight", {channels}, {"constant", 1}},
          {"bias", {channels}, {"constant", 0}},
          {"running_mean", {channels}, {"constant", 0}, true},
          {"running_var", {channels}, {"constant", 1}, true},
          {"num_batches_tracked", {}, {"constant", 0}, true, true}};
}

Kernel BindBatchNorm(Attributes& a) {
  const double epsilon = a.Number("epsilon", 1e-5);
  const double momentum = a.Number("momentum", 0.1);
  const bool fixed = a.Flag("fixedStatistics", false);
  return [=](const TensorList& inputs, const TensorList& w, const RunContext& context) {
    if (inputs[0].is_meta()) {
      if (inputs[0].size(1) != w[0].size(0)) {
        throw ShapeError("wanted " + std::to_string(w[0].size(0)) + " channels, got " +
                         std::to_string(inputs[0].size(1)) + ".");
      }
      return at::empty_like(inputs[0]);
    }
    const bool batch_statistics = context.training && !fixed;
    if (batch_statistics) {
      c10::NoGradGuard no_grad;
      w[4].add_(1);
    }
    // Of maps over time LibTorch knows one layout only; as pictures of height 1 they may lie channels last.
    const bool by_time = LiesByTime(inputs[0]);
    const auto x = by_time ? inputs[0].unsqueeze(2) : inputs[0];
    auto y = at::batch_norm(x, w[0], w[1], w[2], w[3], batch_statistics, momentum, epsilon, true);
    if (!by_time) return y;
    y = y.squeeze(2);
    // From a concatenation comes a part of rows, for which LibTorch's backward pass has slow loops alone.
    if (y.requires_grad()) y.register_hook([](const at::Tensor& gradient) { return ByTime(gradient); });
    return y;
  };
}

// ---- activations
// -------------------------------------------------------------------------------------------

/// An activation, element by element. (Not every one has a kernel for meta tensors in C++.)
template <typename Function>
Kernel Elementwise(Function function) {
  return [function](const TensorList& inputs, const TensorList&, const RunContext&) {
    auto x = inputs[0];
    return x.is_meta() ? at::empty_like(x) : function(x);
  };
}

Kernel BindRelu(Attributes&) {
  return Elementwise([](const at::Tensor& x) { return at::relu(x); });
}
Kernel BindReluInPlace(Attributes&) {
  return Elementwise([](at::Tensor& x) { return at::relu_(x); });
}
Kernel BindRelu6(Attributes&) {
  return Elementwise([](const at::Tensor& x) { return at::hardtanh(x, 0, 6); });
}
Kernel BindRelu6InPlace(Attributes&) {
  return Elementwise([](at::Tensor& x) { return at::hardtanh_(x, 0, 6); });
}
Kernel BindSigmoid(Attributes&) {
  return Elementwise([](const at::Tensor& x) { return at::sigmoid(x); });
}

Kernel BindDropout(Attributes& a) {
  const double probability = a.Number("probability", 0.5);
  if (probability < 0 || probability >= 1)
    throw InvalidArgument("attribute 'probability' must lie in [0, 1).");
  return [=](const TensorList& inputs, const TensorList&, const RunContext& context) {
    const auto& x = inputs[0];
    if (!context.training || probability == 0 || x.is_meta()) return x;
    return x * DropoutMask(x, 1 - probability, context.generator.value());
  };
}

// ---- resizing, joining
// ----------------------------------------------------------------------------

/// Cuts the first input to the height and width of the second: of a surplus d, floor(d / 2) goes at the top
/// and left, the rest at the bottom and right.
Kernel BindCrop(Attributes&) {
  return [](const TensorList& inputs, const TensorList&, const RunContext&) {
    auto x = inputs[0];
    for (const int64_t dimension : {2, 3}) {
      const int64_t wanted = inputs[1].size(dimension);
      const int64_t surplus = x.size(dimension) - wanted;
      if (surplus < 0) throw ShapeError("the map to crop is smaller than the map it is cropped to.");
      x = x.narrow(dimension, surplus / 2, wanted);
    }
    return x;
  };
}

std::vector<ParameterSpec> SelectParameters(Attributes& a) {
  const auto channels = a.RequiredInteger("channels");
  return {{"indexes", {channels}, {"leading", static_cast<double>(a.Integer("out", channels, 1))}, true}};
}

/// Which channels a selection picks, found anew when it was changed: to count them is to wait for the device.
class Selected {
 public:
  at::Tensor Of(const at::Tensor& indexes, int64_t wanted) {
    if (!keep_.defined() || !indexes.is_same(indexes_) || indexes._version() != version_) {
      const auto keep = indexes.nonzero().flatten();
      CheckSelected(keep.size(0), wanted);
      indexes_ = indexes;
      version_ = indexes._version();
      keep_ = keep;
    }
    return keep_;
  }

 private:
  at::Tensor indexes_;
  int64_t version_ = -1;
  at::Tensor keep_;
};

/// The channels whose index is not zero, in order; `out` of them.
Kernel BindSelect(Attributes& a) {
  const auto channels = a.RequiredInteger("channels");
  const auto out = a.RequiredInteger("out");
  if (out > channels) throw InvalidArgument("attribute 'out' is more than 'channels'.");
  return [=, selected = std::make_shared<Selected>()](const TensorList& inputs, const TensorList& weights,
                                                      const RunContext&) {
    const auto& x = inputs[0];
    if (x.dim() < 2 || x.size(1) != channels)
      throw ShapeError("wanted " + std::to_string(channels) + " channels.");
    if (x.is_meta()) return x.narrow(1, 0, out);
    const auto keep = selected->Of(weights[0], out);
    return out == channels ? x : x.index_select(1, keep);
  };
}

Kernel BindPadChannels(Attributes& a) {
  const auto before = a.Integer("before", 0);
  const auto after = a.Integer("after", 0);
  return [=](const TensorList& inputs, const TensorList&, const RunContext&) {
    const auto& x = inputs[0];
    if (x.dim() < 2) throw ShapeError("wanted a tensor with channels (N, C, ...).");
    std::vector<int64_t> padding(static_cast<size_t>(2 * (x.dim() - 1)), 0);
    padding[padding.size() - 2] = before;
    padding[padding.size() - 1] = after;
    return at::constant_pad_nd(x, padding);
  };
}

Kernel BindSubsample(Attributes& a) {
  const auto stride = a.List("stride", 2, 1, 1);
  return [=](const TensorList& inputs, const TensorList&, const RunContext&) {
    const auto& x = inputs[0];
    if (x.dim() != 4) throw ShapeError("wanted (N, C, H, W).");
    return x.slice(2, 0, c10::nullopt, stride[0]).slice(3, 0, c10::nullopt, stride[1]);
  };
}

Kernel BindConcat(Attributes& a) {
  const auto dimension = a.Integer("dimension", 1);
  return [=](const TensorList& inputs, const TensorList&, const RunContext&) {
    if (dimension != 1 || !std::all_of(inputs.begin(), inputs.end(), LiesByTime))
      return at::cat(inputs, dimension);
    TensorList rows;
    for (const auto& x : inputs) rows.push_back(x.permute({0, 2, 1}));
    return at::cat(rows, 2).permute({0, 2, 1});
  };
}

Kernel BindAdd(Attributes&) {
  return [](const TensorList& inputs, const TensorList&, const RunContext&) {
    auto sum = inputs[0] + inputs[1];
    for (size_t i = 2; i < inputs.size(); ++i) sum = sum + inputs[i];
    return sum;
  };
}

Kernel BindMultiply(Attributes&) {
  return [](const TensorList& x, const TensorList&, const RunContext&) { return x[0] * x[1]; };
}

Kernel BindMatmul(Attributes&) {
  return [](const TensorList& x, const TensorList&, const RunContext&) { return at::matmul(x[0], x[1]); };
}

int64_t MatmulMacs(const Node&, const TensorList& inputs, const TensorList&, const at::Tensor& output) {
  return output.numel() * inputs[0].size(-1);
}

// ---- the table
// ---------------------------------------------------------------------------------------------

constexpr size_t kMany = 4096;

// name, inputs (least, most), parameters, forward, MACs, in place, output may be written over, channels
const Op kOps[] = {
    {"conv", 1, 1, ConvParameters, BindConv, ConvMacs, nullptr, true, Flow::kFresh},
    {"convTranspose", 1, 1, ConvTransposeParameters, BindConvTranspose, ConvTransposeMacs, nullptr, true,
     Flow::kFresh},
    {"linear", 1, 1, LinearParameters, BindLinear, LinearMacs, nullptr, true, Flow::kFresh},
    {"batchNorm", 1, 1, BatchNormParameters, BindBatchNorm, nullptr, nullptr, true, Flow::kSame},
    {"relu", 1, 1, NoParameters, BindRelu, nullptr, BindReluInPlace, false, Flow::kSame},
    {"relu6", 1, 1, NoParameters, BindRelu6, nullptr, BindRelu6InPlace, false, Flow::kSame},
    {"sigmoid", 1, 1, NoParameters, BindSigmoid, nullptr, nullptr, false, Flow::kSame},
    {"dropout", 1, 1, NoParameters, BindDropout, nullptr, nullptr, false, Flow::kSame},
    {"maxPool", 1, 1, NoParameters, BindMaxPool, nullptr, nullptr, false, Flow::kSame},
    {"averagePool", 1, 1, NoParameters, BindAveragePool, nullptr, nullptr, false, Flow::kSame},
    {"globalAveragePool", 1, 1, NoParameters, BindGlobalAveragePool, nullptr, nullptr, false, Flow::kSame},
    {"upsample", 1, 2, NoParameters, BindUpsample, nullptr, nullptr, false, Flow::kFirst},
    {"crop", 2, 2, NoParameters, BindCrop, nullptr, nullptr, false, Flow::kFirst},
    {"select", 1, 1, SelectParameters, BindSelect, nullptr, nullptr, false, Flow::kSelect},
    {"padChannels", 1, 1, NoParameters, BindPadChannels, nullptr, nullptr, true, Flow::kPad},
    {"subsample", 1, 1, NoParameters, BindSubsample, nullptr, nullptr, false, Flow::kSame},
    {"concat", 1, kMany, NoParameters, BindConcat, nullptr, nullptr, false, Flow::kConcat},
    {"add", 2, kMany, NoParameters, BindAdd, nullptr, nullptr, true, Flow::kSame},
    {"multiply", 2, 2, NoParameters, BindMultiply, nullptr, nullptr, false, Flow::kSame},
    {"matmul", 2, 2, NoParameters, BindMatmul, MatmulMacs, nullptr, false, Flow::kOpaque},
    {"attention", 3, 3, NoParameters, BindAttention, AttentionMacs, nullptr, false, Flow::kOpaque},
    {"flatten", 1, 1, NoParameters, BindFlatten, nullptr, nullptr, false, Flow::kFlatten},
    {"permute", 1, 1, NoParameters, BindPermute, nullptr, nullptr, false, Flow::kOpaque},
    {"mergeBatch", 1, 1, NoParameters, BindMergeBatch, nullptr, nullptr, false, Flow::kOpaque},
    {"splitBatch", 2, 2, NoParameters, BindSplitBatch, nullptr, nullptr, false, Flow::kOpaque},
    {"mean", 1, 1, NoParameters, BindMean, nullptr, nullptr, false, Flow::kOpaque},
    {"norm", 1, 1, NoParameters, BindNorm, nullptr, nullptr, false, Flow::kOpaque},
    {"normalise", 1, 1, NoParameters, BindNormalise, nullptr, nullptr, false, Flow::kOpaque},
};

}  // namespace

void CheckSelected(int64_t selected, int64_t wanted) {
  if (selected == wanted) return;
  throw Error("ERR_CHECKPOINT_MISMATCH", "'indexes' selects " + std::to_string(selected) +
                                             " channels, the graph says " + std::to_string(wanted) +
                                             ". Load the weights that belong to this graph.");
}

const Op& FindOp(const Node& node) {
  for (const auto& op : kOps) {
    if (op.name == node.op) return op;
  }
  std::string known;
  for (const auto& op : kOps) known += (known.empty() ? "" : ", ") + std::string(op.name);
  throw InvalidArgument(Describe(node) + ": there is no such op. Ops: " + known + ".");
}

}  // namespace torchvid
