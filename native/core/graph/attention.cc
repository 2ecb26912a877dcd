#include "core/graph/attention.h"

#include "core/error.h"
#include "core/graph/time_convolution.h"

namespace torchvid {

namespace {

/// The sizes of one call: batch, channels of query and key, of the value, positions of query and of key.
struct Sizes {
  int64_t channels, value_channels, queries, keys;

  /// Multiply-accumulates per item of v (k^T q), and of (v k^T) q: without a softmax between the two products
  /// the order is free.
  int64_t WeightsFirst() const { return queries * keys * (channels + value_channels); }
  int64_t ContextFirst() const { return channels * value_channels * (queries + keys); }
};

int64_t Positions(const at::Tensor& x) { return x.numel() / std::max<int64_t>(x.size(0) * x.size(1), 1); }

Sizes SizesOf(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value) {
  for (const auto& x : {query, key, value}) {
    if (x.dim() < 3) throw ShapeError("wanted a query, a key and a value of shape (N, C, positions...).");
  }
  if (query.size(0) != key.size(0) || query.size(0) != value.size(0))
    throw ShapeError("query, key and value must hold equally many items.");
  if (query.size(1) != key.size(1)) {
    throw ShapeError("query and key must have the same channels, got " + std::to_string(query.size(1)) +
                     " and " + std::to_string(key.size(1)) + ".");
  }
  if (key.sizes().slice(2) != value.sizes().slice(2))
    throw ShapeError("key and value must have the same positions.");
  return {query.size(1), value.size(1), Positions(query), Positions(key)};
}

/// (N, D, P) from (N, C, P), (N, C, Q), (N, D, Q).
at::Tensor SoftmaxAttention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value) {
  const auto by_position = [](const at::Tensor& x) { return x.transpose(1, 2).unsqueeze(1); };
  return at::scaled_dot_product_attention(by_position(query), by_position(key), by_position(value))
      .squeeze(1)
      .transpose(1, 2);
}

/// Divided on the smaller side of each product; never queries x keys numbers when both are many.
at::Tensor MeanAttention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                         const Sizes& sizes) {
  const auto keys = static_cast<double>(sizes.keys);
  if (LiesByTime(query)) {  // and so shall the result
    const auto q = query.transpose(1, 2);
    const auto v = value.transpose(1, 2);
    const auto y = sizes.WeightsFirst() <= sizes.ContextFirst() ? at::bmm(at::bmm(q, key) / keys, v)
                                                                : at::bmm(q, at::bmm(key, v) / keys);
    return y.transpose(1, 2);
  }
  if (sizes.WeightsFirst() <= sizes.ContextFirst())
    return at::bmm(value, at::bmm(key.transpose(1, 2), query) / keys);
  return at::bmm(at::bmm(value, key.transpose(1, 2)) / keys, query);
}

}  // namespace

Kernel BindAttention(AttributeReader& a) {
  const auto scaling = a.Text("scaling", "softmax");
  if (scaling != "softmax" && scaling != "mean")
    throw InvalidArgument("attribute 'scaling' must be 'softmax' or 'mean'.");
  const bool softmax = scaling == "softmax";
  return [softmax](const TensorList& inputs, const TensorList&, const RunContext&) {
    const auto& query = inputs[0];
    const auto sizes = SizesOf(query, inputs[1], inputs[2]);
    auto shape = query.sizes().vec();
    shape[1] = sizes.value_channels;
    if (query.is_meta()) return at::empty(shape, query.options());
    const auto q = query.flatten(2);
    const auto k = inputs[1].flatten(2);
    const auto v = inputs[2].flatten(2);
    return (softmax ? SoftmaxAttention(q, k, v) : MeanAttention(q, k, v, sizes)).reshape(shape);
  };
}

int64_t AttentionMacs(const Node& node, const TensorList& inputs, const TensorList&, const at::Tensor&) {
  const auto sizes = SizesOf(inputs[0], inputs[1], inputs[2]);
  const bool softmax = AttributeReader(node).Text("scaling", "softmax") == "softmax";
  const auto macs = softmax ? sizes.WeightsFirst() : std::min(sizes.WeightsFirst(), sizes.ContextFirst());
  return inputs[0].size(0) * macs;
}

}  // namespace torchvid
