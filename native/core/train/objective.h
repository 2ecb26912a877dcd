#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/graph/network.h"
#include "core/train/losses.h"

namespace torchvid {

struct Loss {
  at::Tensor total;  // scalar
  /// Its parts by name, before weighting.
  std::vector<std::pair<std::string, double>> parts;
};

/// What a trainer minimises.
class Objective {
 public:
  virtual ~Objective() = default;
  /// The outputs of the network it needs; nothing else is computed.
  virtual std::vector<std::string> Outputs() const = 0;
  virtual Loss Compute(const TensorMap& outputs, const at::Tensor& target) const = 0;
};

/// A weighted sum of class-balanced cross-entropies, one per output (OSVOS: the sides and the fused map).
class ClassBalancedObjective : public Objective {
 public:
  ClassBalancedObjective(std::vector<std::pair<std::string, double>> weights, Reduction reduction)
      : weights_(std::move(weights)), reduction_(reduction) {}
  std::vector<std::string> Outputs() const override;
  Loss Compute(const TensorMap& outputs, const at::Tensor& target) const override;

 private:
  std::vector<std::pair<std::string, double>> weights_;
  Reduction reduction_;
};

}  // namespace torchvid
