#include "core/graph/convolution.h"

#include <ATen/autocast_mode.h>

#include "core/error.h"

namespace torchvid {

namespace {

/// The output's shape, which LibTorch infers for meta tensors in Python alone.
at::Tensor Infer(const Convolution& c, const at::Tensor& x, const at::Tensor& weight,
                 const std::vector<int64_t>& pad) {
  const auto rank = static_cast<int64_t>(c.stride.size());
  if (x.dim() != rank + 2) {
    throw ShapeError("wanted an input of " + std::to_string(rank + 2) + " dimensions.");
  }
  const int64_t inside = c.transposed ? weight.size(0) : weight.size(1) * c.groups;
  if (x.size(1) != inside) {
    throw ShapeError("wanted " + std::to_string(inside) + " channels, got " + std::to_string(x.size(1)) +
                     ".");
  }
  std::vector<int64_t> shape{x.size(0), c.transposed ? weight.size(1) * c.groups : weight.size(0)};
  for (int64_t d = 0; d < rank; ++d) {
    const auto i = static_cast<size_t>(d);
    const int64_t reach = c.dilation[i] * (weight.size(d + 2) - 1) + 1;
    const int64_t size = x.size(d + 2);
    const int64_t padded = size + 2 * pad[i];
    if (!c.transposed && padded < reach) throw ShapeError("the kernel is larger than its padded input.");
    shape.push_back(c.transposed ? (size - 1) * c.stride[i] - 2 * pad[i] + reach + c.output_padding[i]
                                 : (padded - reach) / c.stride[i] + 1);
  }
  return at::empty(shape, x.options());
}

}  // namespace

std::optional<at::Tensor> BiasOf(const TensorList& weights) {
  if (weights.size() > 1) return weights[1];
  return std::nullopt;
}

at::Tensor Convolution::operator()(const at::Tensor& x, const TensorList& weights,
                                   const std::vector<int64_t>& pad) const {
  if (x.is_meta()) return Infer(*this, x, weights[0], pad);
  // Autocast on the CPU knows conv2d and its like, not the general convolution.
  const auto device = x.device().type();
  const bool lower = at::autocast::is_autocast_enabled(device);
  const auto cast = [&](const at::Tensor& tensor) {
    return lower ? at::autocast::cached_cast(at::autocast::get_autocast_dtype(device), tensor, device)
                 : tensor;
  };
  auto bias = BiasOf(weights);
  if (bias) bias = cast(*bias);
  return at::convolution(cast(x), cast(weights[0]), bias, stride, pad, dilation, transposed, output_padding,
                         groups);
}

std::vector<int64_t> SamePads(const at::Tensor& x, const std::vector<int64_t>& kernel,
                              const std::vector<int64_t>& stride, const std::vector<int64_t>& dilation) {
  const size_t rank = kernel.size();
  if (x.dim() != static_cast<int64_t>(rank) + 2)
    throw ShapeError("wanted an input of " + std::to_string(rank + 2) + " dimensions.");
  std::vector<int64_t> pads(2 * rank);
  for (size_t d = 0; d < rank; ++d) {
    const int64_t size = x.size(static_cast<int64_t>(d) + 2);
    const int64_t reach = (kernel[d] - 1) * dilation[d] + 1;
    const int64_t total =
        std::max<int64_t>(((size + stride[d] - 1) / stride[d] - 1) * stride[d] + reach - size, 0);
    pads[2 * (rank - 1 - d)] = total / 2;
    pads[2 * (rank - 1 - d) + 1] = total - total / 2;
  }
  return pads;
}

at::Tensor PadSame(const at::Tensor& x, const std::vector<int64_t>& kernel, const Convolution& convolution,
                   std::vector<int64_t>* symmetric) {
  const size_t rank = kernel.size();
  const auto pads = SamePads(x, kernel, convolution.stride, convolution.dilation);
  bool even = true;
  for (size_t d = 0; d < rank; ++d) {
    const auto before = pads[2 * (rank - 1 - d)];
    even = even && before == pads[2 * (rank - 1 - d) + 1];
    (*symmetric)[d] = before;
  }
  if (even) return x;
  std::fill(symmetric->begin(), symmetric->end(), 0);
  return at::constant_pad_nd(x, pads, 0);
}

ConvolutionSettings ReadConvolution(AttributeReader& a) {
  const auto kernel = a.RequiredList("kernel");
  const size_t rank = kernel.size();
  const bool same = a.IsText("padding");
  if (same && a.Text("padding", "") != "same")
    throw InvalidArgument("attribute 'padding' must be a number, a list or 'same'.");
  const std::vector<int64_t> zeros(rank, 0);
  return {{a.List("stride", rank, 1, 1), same ? zeros : a.List("padding", rank, 0),
           a.List("dilation", rank, 1, 1), zeros, false, a.Integer("groups", 1, 1)},
          kernel,
          same};
}

}  // namespace torchvid
