#include "core/graph/upsample.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include "core/error.h"

namespace torchvid {

namespace {

/// (from, to): what each of `to` places takes from each of `from`.
at::Tensor Weights(int64_t from, int64_t to, bool align, const at::TensorOptions& options) {
  return at::upsample_linear1d(at::eye(from, options).unsqueeze(0), {to}, align).squeeze(0);
}

/// Rows and columns one after the other, as matrix products: their gradient adds up in one order, so that one
/// seed gives one result. That of LibTorch's kernel for CUDA adds in any.
at::Tensor BilinearByProducts(const at::Tensor& x, const std::vector<int64_t>& size, bool align) {
  // In the type it comes in, as LibTorch's kernel.
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
  const auto rows = Weights(x.size(2), size[0], align, x.options());
  const auto columns = Weights(x.size(3), size[1], align, x.options());
  return at::matmul(rows.t(), at::matmul(x, columns));
}

}  // namespace

Kernel BindUpsample(AttributeReader& a) {
  const double scale = a.Number("scale", 0);
  const bool align = a.Flag("alignCorners", false);
  const auto mode = a.Text("mode", "bilinear");
  if (mode != "bilinear" && mode != "nearest")
    throw InvalidArgument("attribute 'mode' must be 'bilinear' or 'nearest'.");
  return [=](const TensorList& inputs, const TensorList&, const RunContext&) {
    const auto& x = inputs[0];
    if (inputs.size() < 2 && scale <= 0)
      throw ShapeError("give a 'scale' above 0, or a second input whose size to take.");
    const std::vector<int64_t> size =
        inputs.size() > 1
            ? std::vector<int64_t>{inputs[1].size(2), inputs[1].size(3)}
            : std::vector<int64_t>{static_cast<int64_t>(static_cast<double>(x.size(2)) * scale),
                                   static_cast<int64_t>(static_cast<double>(x.size(3)) * scale)};
    if (mode == "nearest") return at::upsample_nearest2d(x, size);
    const bool in_order = x.is_cuda() && c10::GradMode::is_enabled() && x.requires_grad();
    return in_order ? BilinearByProducts(x, size, align) : at::upsample_bilinear2d(x, size, align);
  };
}

}  // namespace torchvid
