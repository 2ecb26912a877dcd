#include "core/graph/pooling.h"

#include "core/error.h"
#include "core/graph/convolution.h"
#include "core/graph/max_pool.h"

namespace torchvid {

namespace {

/// The settings that both pools have.
PoolWindows ReadWindows(AttributeReader& a) {
  PoolWindows windows;
  windows.kernel = a.RequiredList("kernel");
  const size_t rank = windows.kernel.size();
  if (rank > 3) throw InvalidArgument("attribute 'kernel' must have 1 to 3 sizes.");
  windows.stride = a.Has("stride") ? a.List("stride", rank, 1, 1) : windows.kernel;
  windows.ceil = a.Flag("ceil", false);
  return windows;
}

void CheckRank(const at::Tensor& x, size_t rank) {
  if (x.dim() != static_cast<int64_t>(rank) + 2)
    throw ShapeError("wanted an input of " + std::to_string(rank + 2) + " dimensions.");
}

at::Tensor MaxOver(const at::Tensor& x, const PoolWindows& w) {
  const std::vector<int64_t> ones(w.kernel.size(), 1);
  if (w.kernel.size() == 1) return at::max_pool1d(x, w.kernel, w.stride, w.padding, ones, w.ceil);
  if (w.kernel.size() == 2) return at::max_pool2d(x, w.kernel, w.stride, w.padding, ones, w.ceil);
  return at::max_pool3d(x, w.kernel, w.stride, w.padding, ones, w.ceil);
}

}  // namespace

Kernel BindMaxPool(AttributeReader& a) {
  auto windows = ReadWindows(a);
  const size_t rank = windows.kernel.size();
  const bool same = a.IsText("padding");
  if (same && a.Text("padding", "") != "same")
    throw InvalidArgument("attribute 'padding' must be a number, a list or 'same'.");
  windows.padding = same ? std::vector<int64_t>(rank, 0) : a.List("padding", rank, 0);
  return [windows, rank, same](const TensorList& inputs, const TensorList&, const RunContext&) {
    const auto& x = inputs[0];
    CheckRank(x, rank);
    auto pads = std::vector<int64_t>(2 * rank, 0);
    if (same) pads = SamePads(x, windows.kernel, windows.stride, std::vector<int64_t>(rank, 1));
    if (x.is_meta()) return at::empty(PooledShape(x, windows, pads), x.options());
    if (CanMaxPoolClip(x, windows)) return MaxPoolClip(x, windows, pads);
    const bool padded = std::any_of(pads.begin(), pads.end(), [](auto pad) { return pad > 0; });
    return MaxOver(padded ? at::constant_pad_nd(x, pads, 0) : x, windows);
  };
}

Kernel BindAveragePool(AttributeReader& a) {
  auto windows = ReadWindows(a);
  windows.padding = a.List("padding", windows.kernel.size(), 0);
  const bool count_padding = a.Flag("countPadding", true);
  return [w = windows, count_padding](const TensorList& inputs, const TensorList&, const RunContext&) {
    const auto& x = inputs[0];
    CheckRank(x, w.kernel.size());
    if (x.is_meta())
      return at::empty(PooledShape(x, w, std::vector<int64_t>(2 * w.kernel.size(), 0)), x.options());
    if (w.kernel.size() == 1) return at::avg_pool1d(x, w.kernel, w.stride, w.padding, w.ceil, count_padding);
    if (w.kernel.size() == 2) return at::avg_pool2d(x, w.kernel, w.stride, w.padding, w.ceil, count_padding);
    return at::avg_pool3d(x, w.kernel, w.stride, w.padding, w.ceil, count_padding);
  };
}

Kernel BindGlobalAveragePool(AttributeReader& a) {
  const bool keep = a.Flag("keepDimensions", false);
  return [keep](const TensorList& inputs, const TensorList&, const RunContext&) {
    const auto& x = inputs[0];
    const auto mean = x.flatten(2).mean(2);
    if (!keep) return mean;
    std::vector<int64_t> shape(static_cast<size_t>(x.dim()), 1);
    shape[0] = x.size(0);
    shape[1] = x.size(1);
    return mean.view(shape);
  };
}

}  // namespace torchvid
