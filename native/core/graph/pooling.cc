#include "core/graph/pooling.h"

#include "core/error.h"

namespace torchvid {

Kernel BindMaxPool(AttributeReader& a) {
  const auto kernel = a.RequiredList("kernel");
  const size_t rank = kernel.size();
  const auto stride = a.Has("stride") ? a.List("stride", rank, 1, 1) : kernel;
  const auto padding = a.List("padding", rank, 0);
  const bool ceil = a.Flag("ceil", false);
  if (rank != 2) throw InvalidArgument("maxPool works on 2 dimensions: give a kernel of two numbers.");
  return [=](const TensorList& x, const TensorList&, const RunContext&) {
    return at::max_pool2d(x[0], kernel, stride, padding, {1, 1}, ceil);
  };
}

Kernel BindAveragePool(AttributeReader& a) {
  const auto kernel = a.RequiredList("kernel");
  const size_t rank = kernel.size();
  const auto stride = a.Has("stride") ? a.List("stride", rank, 1, 1) : kernel;
  const auto padding = a.List("padding", rank, 0);
  const bool ceil = a.Flag("ceil", false);
  const bool count_padding = a.Flag("countPadding", true);
  if (rank != 2) throw InvalidArgument("averagePool works on 2 dimensions: give a kernel of two numbers.");
  return [=](const TensorList& x, const TensorList&, const RunContext&) {
    return at::avg_pool2d(x[0], kernel, stride, padding, ceil, count_padding);
  };
}

Kernel BindGlobalAveragePool(AttributeReader&) {
  return [](const TensorList& x, const TensorList&, const RunContext&) { return x[0].flatten(2).mean(2); };
}

}  // namespace torchvid
