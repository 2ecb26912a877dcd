#include "core/train/evaluator.h"

#include <c10/core/GradMode.h>

#include "core/torch_error.h"
#include "core/train/losses.h"

namespace torchvid {

Evaluator::Evaluator(std::shared_ptr<Network> network, std::unique_ptr<ImageSource> source,
                     std::string output)
    : network_(std::move(network)), source_(std::move(source)), output_(std::move(output)) {}

void Evaluator::Step() {
  c10::NoGradGuard no_grad;
  try {
    const auto batch = Finished(source_->Next(pass_, generator_));
    const auto logits = network_->Forward(batch.inputs, {output_}, {}).at(output_).to(at::kDouble);
    const auto loss = at::cross_entropy_loss(logits, batch.target, {}, at::Reduction::Sum);
    const auto correct = CorrectClasses(logits, batch.target);
    loss_ = loss_.defined() ? loss_ + loss : loss;
    correct_ = correct_.defined() ? correct_ + correct : correct;
    images_ += batch.target.size(0);
    ++pass_;
    if (done())
      result_ = {correct_.item<int64_t>(), images_, loss_.item<double>() / static_cast<double>(images_)};
  } catch (const c10::Error& error) {
    throw FromTorch(error, "Evaluating batch " + std::to_string(pass_ + 1), "ERR_SHAPE");
  }
}

}  // namespace torchvid
