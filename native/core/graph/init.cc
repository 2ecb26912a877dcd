#include "core/graph/init.h"

#include <cmath>

#include "core/error.h"

namespace torchvid {

namespace {

/// Inputs that feed one output of a weight of this shape.
double FanIn(const std::vector<int64_t>& shape) {
  double fan = 1;
  for (size_t i = 1; i < shape.size(); ++i) fan *= static_cast<double>(shape[i]);
  return std::max(fan, 1.0);
}

double FanOut(const std::vector<int64_t>& shape) {
  return shape.empty() ? 1
                       : FanIn(shape) / static_cast<double>(shape.size() > 1 ? shape[1] : 1) *
                             static_cast<double>(shape[0]);
}

/// Bilinear interpolation on the channel diagonal, zero elsewhere: weight (in, out / groups, k, k).
/// f = floor((k + 1) / 2), c = f - 1 for odd k and f - 0.5 for even, w = (1 - |y - c| / f)(1 - |x - c| / f).
void FillBilinear(at::Tensor& weight) {
  if (weight.dim() != 4) throw InvalidArgument("init 'bilinear' is for weights of 4 dimensions.");
  const auto line = [](int64_t k) {
    const auto f = static_cast<double>((k + 1) / 2);
    const double c = k % 2 == 1 ? f - 1 : f - 0.5;
    return 1 - (at::arange(k, at::kDouble) - c).abs() / f;
  };
  const auto kernel = at::outer(line(weight.size(2)), line(weight.size(3))).to(weight.scalar_type());
  weight.zero_();
  if (weight.size(1) == 1) {  // one kernel per group
    weight.copy_(kernel.expand_as(weight));
    return;
  }
  for (int64_t i = 0; i < std::min(weight.size(0), weight.size(1)); ++i) weight[i][i].copy_(kernel);
}

}  // namespace

at::Tensor Initialise(const ParameterSpec& spec, const std::vector<int64_t>& fan_in_shape,
                      const at::Generator& generator) {
  auto tensor = at::empty(spec.shape, at::TensorOptions().dtype(spec.integer ? at::kLong : at::kFloat));
  const auto& kind = spec.init.distribution;
  const double value = spec.init.value;
  if (kind == "constant") return tensor.fill_(value);
  if (kind == "leading") {  // so many ones, then zeros
    tensor.zero_().narrow(0, 0, std::min(static_cast<int64_t>(value), tensor.size(0))).fill_(1);
    return tensor;
  }
  if (kind == "normal") return tensor.normal_(0, value, generator);
  if (kind == "uniform") return tensor.uniform_(-value, value, generator);
  if (kind == "kaimingUniform") {  // PyTorch's default for layers
    const double bound = 1 / std::sqrt(FanIn(fan_in_shape));
    return tensor.uniform_(-bound, bound, generator);
  }
  if (kind == "kaimingNormalFanIn") return tensor.normal_(0, std::sqrt(2 / FanIn(fan_in_shape)), generator);
  if (kind == "kaimingNormalFanOut") return tensor.normal_(0, std::sqrt(2 / FanOut(fan_in_shape)), generator);
  if (kind == "xavierUniform") {
    const double bound = std::sqrt(6 / (FanIn(fan_in_shape) + FanOut(fan_in_shape)));
    return tensor.uniform_(-bound, bound, generator);
  }
  if (kind == "xavierNormal") {
    const double deviation = std::sqrt(2 / (FanIn(fan_in_shape) + FanOut(fan_in_shape)));
    return tensor.normal_(0, deviation, generator);
  }
  if (kind == "bilinear") {
    FillBilinear(tensor);
    return tensor;
  }
  throw InvalidArgument("init '" + kind +
                        "' is unknown. Known: constant, normal, uniform, kaimingUniform, kaimingNormalFanIn, "
                        "kaimingNormalFanOut, xavierUniform, xavierNormal, bilinear.");
}

}  // namespace torchvid
