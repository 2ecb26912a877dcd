#include "core/train/losses.h"

namespace torchvid {

at::Tensor ClassBalancedCrossEntropy(const at::Tensor& logits, const at::Tensor& labels,
                                     Reduction reduction) {
  const auto object = labels.ge(0.5);
  const auto total = static_cast<double>(labels.numel());
  const auto objects = static_cast<double>(object.sum().item<int64_t>());
  const auto weight = at::where(object, at::scalar_tensor((total - objects) / total, logits.options()),
                                at::scalar_tensor(objects / total, logits.options()));
  const auto loss = at::binary_cross_entropy_with_logits(logits, object.to(logits.scalar_type()), weight, {},
                                                         at::Reduction::Sum);
  return loss / (reduction == Reduction::kMean ? total : static_cast<double>(logits.size(0)));
}

int64_t CorrectClasses(const at::Tensor& logits, const at::Tensor& labels) {
  return logits.detach().argmax(1).eq(labels).sum().item<int64_t>();
}

}  // namespace torchvid
