#include "core/graph/packed_convolution.h"

#include <ATen/Context.h>
#include <ATen/core/dispatch/Dispatcher.h>

namespace torchvid {

namespace {

using Scalars = c10::List<std::optional<at::Scalar>>;
using Plain = at::Tensor(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                         at::IntArrayRef padding, at::IntArrayRef stride, at::IntArrayRef dilation,
                         int64_t groups, std::string_view attribute, Scalars scalars,
                         std::optional<std::string_view> algorithm);
using Binary = at::Tensor(const at::Tensor& x, const at::Tensor& other, const at::Tensor& weight,
                          const std::optional<at::Tensor>& bias, at::IntArrayRef padding,
                          at::IntArrayRef stride, at::IntArrayRef dilation, int64_t groups,
                          std::string_view binary, std::optional<at::Scalar> alpha,
                          std::optional<std::string_view> unary, Scalars unary_scalars,
                          std::optional<std::string_view> unary_algorithm);

/// The operators that LibTorch's compiler writes its fused convolutions with.
constexpr const char* kName = "mkldnn::_convolution_pointwise";

std::optional<c10::OperatorHandle> Find(const char* overload) {
  return c10::Dispatcher::singleton().findSchema({kName, overload});
}

std::vector<int64_t> OutputShape(const PackedConvolution& layer, const at::Tensor& x, int64_t channels,
                                 const std::vector<int64_t>& padding) {
  const auto& c = layer.settings.convolution;
  std::vector<int64_t> shape{x.size(0), channels};
  for (size_t d = 0; d < 3; ++d) {
    const int64_t reach = c.dilation[d] * (layer.settings.kernel[d] - 1) + 1;
    shape.push_back((x.size(static_cast<int64_t>(d) + 2) + 2 * padding[d] - reach) / c.stride[d] + 1);
  }
  return shape;
}

}  // namespace

bool HasPackedConvolution() {
  return at::hasMKLDNN() && at::globalContext().userEnabledMkldnn() && Find("") && Find("binary");
}

TensorList PackedConvolution::Pack(const TensorList& weights, const at::Tensor& x) const {
  const auto& c = settings.convolution;
  auto padding = c.padding;
  const auto padded = settings.same ? PadSame(x, settings.kernel, c, &padding) : x;
  TensorList packed{at::mkldnn_reorder_conv3d_weight(weights[0].contiguous().to_mkldnn(), padding, c.stride,
                                                     c.dilation, c.groups, padded.sizes())};
  packed.insert(packed.end(), weights.begin() + 1, weights.end());
  return packed;
}

at::Tensor PackedConvolution::operator()(const TensorList& inputs, const TensorList& packed) const {
  const auto& c = settings.convolution;
  auto padding = c.padding;
  auto x = settings.same ? PadSame(inputs[0], settings.kernel, c, &padding) : inputs[0];
  x = x.contiguous(at::MemoryFormat::ChannelsLast3d);
  const auto bias = BiasOf(packed);
  const auto plain = [&](bool with_relu) {
    static const auto op = Find("")->typed<Plain>();
    return op.call(x, packed[0], bias, padding, c.stride, c.dilation, c.groups, with_relu ? "relu" : "none",
                   Scalars(), std::nullopt);
  };
  if (!adds) return plain(relu);
  const auto& other = inputs[1];
  if (other.sizes() != OutputShape(*this, x, packed[0].size(0), padding)) {  // broadcast
    const auto sum = plain(false) + other;
    return relu ? at::relu(sum) : sum;
  }
  static const auto op = Find("binary")->typed<Binary>();
  return op.call(x, other.contiguous(at::MemoryFormat::ChannelsLast3d), packed[0], bias, padding, c.stride,
                 c.dilation, c.groups, "add", std::nullopt,
                 relu ? std::optional<std::string_view>("relu") : std::nullopt, Scalars(), std::nullopt);
}

}  // namespace torchvid
