#include "core/graph/shape_ops.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"

namespace torchvid {

namespace {

/// A layer that takes away one dimension of its input, by `reduce(x, dimension)`.
template <typename Reduce>
Kernel Reduction(AttributeReader& a, Reduce reduce) {
  const auto dimension = a.Integer("dimension", 1);
  return [=](const TensorList& inputs, const TensorList&, const RunContext&) {
    const auto& x = inputs[0];
    if (x.dim() <= dimension)
      throw ShapeError("wanted an input of at least " + std::to_string(dimension + 1) + " dimensions.");
    return reduce(x, dimension);
  };
}

}  // namespace

Kernel BindPermute(AttributeReader& a) {
  const auto order = a.RequiredList("order", 0);
  auto sorted = order;
  std::sort(sorted.begin(), sorted.end());
  std::vector<int64_t> all(order.size());
  std::iota(all.begin(), all.end(), 0);
  if (sorted != all)
    throw InvalidArgument("attribute 'order' must name each of the dimensions 0, 1, 2... once.");
  return [=](const TensorList& inputs, const TensorList&, const RunContext&) {
    if (inputs[0].dim() != static_cast<int64_t>(order.size()))
      throw ShapeError("wanted an input of " + std::to_string(order.size()) + " dimensions.");
    return inputs[0].permute(order);
  };
}

Kernel BindMergeBatch(AttributeReader&) {
  return [](const TensorList& inputs, const TensorList&, const RunContext&) {
    if (inputs[0].dim() < 3) throw ShapeError("wanted an input of at least 3 dimensions (A, B, ...).");
    return inputs[0].flatten(0, 1);
  };
}

Kernel BindSplitBatch(AttributeReader&) {
  return [](const TensorList& inputs, const TensorList&, const RunContext&) {
    const auto& x = inputs[0];
    const auto& like = inputs[1];
    if (x.dim() < 1 || like.dim() < 2) throw ShapeError("wanted inputs (A * B, ...) and (A, B, ...).");
    if (x.size(0) != like.size(0) * like.size(1)) {
      throw ShapeError("wanted " + std::to_string(like.size(0) * like.size(1)) + " items, " +
                       std::to_string(like.size(0)) + " times " + std::to_string(like.size(1)) +
                       " as in the second input, got " + std::to_string(x.size(0)) + ".");
    }
    auto shape = x.sizes().vec();
    shape[0] = like.size(1);
    shape.insert(shape.begin(), like.size(0));
    return x.reshape(shape);
  };
}

Kernel BindMean(AttributeReader& a) {
  return Reduction(a, [](const at::Tensor& x, int64_t dimension) { return x.mean(dimension); });
}

Kernel BindNorm(AttributeReader& a) {
  return Reduction(a, [](const at::Tensor& x, int64_t dimension) {
    // Squares of bfloat16 numbers are summed in single precision.
    return at::linalg_vector_norm(x, 2, dimension, false, at::kFloat);
  });
}

Kernel BindNormalise(AttributeReader& a) {
  const auto dimension = a.Integer("dimension", 1);
  return [=](const TensorList& inputs, const TensorList&, const RunContext&) {
    const auto& x = inputs[0];
    if (x.dim() <= dimension)
      throw ShapeError("wanted an input of at least " + std::to_string(dimension + 1) + " dimensions.");
    return x / at::linalg_vector_norm(x, 2, dimension, true, at::kFloat).clamp_min(1e-12);
  };
}

Kernel BindFlatten(AttributeReader& a) {
  const auto start = a.Integer("start", 1);
  return [=](const TensorList& x, const TensorList&, const RunContext&) { return x[0].flatten(start); };
}

}  // namespace torchvid
