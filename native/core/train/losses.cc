#include "core/train/losses.h"

namespace torchvid {

at::Tensor ClassBalancedCrossEntropy(const at::Tensor& logits, const at::Tensor& labels,
                                     Reduction reduction) {
  const WithoutAutocast exactly;
  const auto object = labels.ge(0.5);
  const auto total = static_cast<double>(labels.numel());
  // Counted and divided where the labels are: to read the count would be to wait for the device.
  const auto objects = object.sum().to(at::kDouble);
  const auto weight = at::where(object, ((total - objects) / total).to(logits.scalar_type()),
                                (objects / total).to(logits.scalar_type()));
  const auto loss = at::binary_cross_entropy_with_logits(logits, object.to(logits.scalar_type()), weight, {},
                                                         at::Reduction::Sum);
  return loss / (reduction == Reduction::kMean ? total : static_cast<double>(logits.size(0)));
}

at::Tensor CorrectClasses(const at::Tensor& logits, const at::Tensor& labels) {
  return logits.detach().argmax(1).eq(labels).sum();
}

}  // namespace torchvid
