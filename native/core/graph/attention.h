#pragma once

#include "core/graph/ops.h"

namespace torchvid {

/// attention(query, key, value): (N, C, P...), (N, C, Q...), (N, D, Q...) -> (N, D, P...); any number of
/// positions P and Q. Attribute `scaling`: 'softmax', softmax(q^T k / sqrt(C)) over the positions of the key
/// (Wang et al. 2018); or 'mean', q^T k divided by the number of those positions.
Kernel BindAttention(AttributeReader& attributes);

/// Of the two products; the scaling counts as none.
int64_t AttentionMacs(const Node& node, const TensorList& inputs, const TensorList& weights,
                      const at::Tensor& output);

}  // namespace torchvid
