#pragma once

#include <string>
#include <vector>

#include "core/graph/network.h"

namespace torchvid {

/// The sparsity term of network slimming (arXiv 1708.06519): strength * sum |gamma| over some parameters. It
/// enters by its gradient alone, so the loss that is reported is the objective's own.
class L1Penalty {
 public:
  /// No penalty.
  L1Penalty() = default;
  /// Throws ERR_INVALID_ARGUMENT when the network has no such parameter.
  L1Penalty(const Network& network, const std::vector<std::string>& names, double strength);

  /// gradient += strength * sign(gamma), sign(0) = 0; parameters without a gradient are left out.
  void AddGradients() const;

 private:
  TensorList parameters_;
  double strength_ = 0;
};

/// Channels that stay exactly 0 while the rest trains (iterative pruning). A keep is one flag per row of
/// dimension 0 of the parameter it names.
class HeldChannels {
 public:
  struct Keep {
    std::string name;
    at::Tensor keep;  // bool (rows)
  };

  /// None.
  HeldChannels() = default;
  /// Throws ERR_INVALID_ARGUMENT or ERR_SHAPE naming the parameter.
  HeldChannels(const Network& network, const std::vector<Keep>& keeps);

  /// Sets the held values to 0.
  void ClearValues() const;
  /// Sets their gradients to 0, so that no update moves them.
  void ClearGradients() const;

 private:
  struct Held {
    at::Tensor parameter;
    at::Tensor dropped;  // bool, broadcasts over the parameter
  };
  std::vector<Held> held_;
};

}  // namespace torchvid
