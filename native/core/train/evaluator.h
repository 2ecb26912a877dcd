#pragma once

#include <memory>
#include <string>

#include "core/graph/network.h"
#include "core/train/image_source.h"

namespace torchvid {

/// How a classifier does on a set of images.
struct Evaluation {
  int64_t correct = 0;
  int64_t images = 0;
  double loss = 0;  // mean cross-entropy
};

/// Runs a network over a set of images, in inference mode. One call of Step is one batch.
class Evaluator {
 public:
  Evaluator(std::shared_ptr<Network> network, std::unique_ptr<ImageSource> source, std::string output);

  bool done() const { return pass_ >= source_->passes_per_epoch(); }
  void Step();
  /// Once it is done.
  const Evaluation& result() const { return result_; }

 private:
  std::shared_ptr<Network> network_;
  std::unique_ptr<ImageSource> source_;
  std::string output_;
  at::Generator generator_;
  int64_t pass_ = 0;
  /// On the network's device, read once all images were seen.
  at::Tensor correct_;
  int64_t images_ = 0;
  at::Tensor loss_;  // summed
  Evaluation result_;
};

}  // namespace torchvid
