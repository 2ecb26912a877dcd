#pragma once

#include <chrono>
#include <condition_variable>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>

#include "core/train/source.h"

namespace torchvid {

/// Makes the batch of a pass, on the engine thread. What is random is drawn from `generator`.
using MakeBatch = std::function<Batch(const at::Generator& generator, at::Device device)>;

/// Samples on their way to a training. It asks for them in the order of its passes, some passes ahead; they
/// may come in any order, from any thread.
class Feed {
 public:
  /// Hears that the samples of passes [first, last) are wanted.
  using Listener = std::function<void(int64_t first, int64_t last)>;

  /// A sample is asked for when the pass `ahead` before its own is about to run.
  explicit Feed(int64_t ahead) : ahead_(ahead) {}

  /// To be called before the training begins. The listener is called on the engine thread.
  void SetListener(Listener listener) { listener_ = std::move(listener); }

  /// The sample of a pass. Throws ERR_INVALID_ARGUMENT unless it was asked for and has not come yet; no
  /// effect once the feed is closed.
  void Supply(int64_t pass, MakeBatch sample);
  /// No sample will come any more: the training ends with `error`.
  void Fail(std::exception_ptr error);
  /// Lets go of all samples.
  void Close();

  // Engine thread.
  /// Asks for what is wanted once `pass` is about to run, in a run that ends before pass `end`.
  void Want(int64_t pass, int64_t end);
  /// Whether the sample of `pass` is there, after waiting for it up to `limit`. Throws what `Fail` was given.
  bool Wait(int64_t pass, std::chrono::milliseconds limit);
  /// The sample of `pass`, which is there.
  MakeBatch Take(int64_t pass);

 private:
  const int64_t ahead_;
  Listener listener_;
  std::mutex mutex_;
  std::condition_variable changed_;
  /// The passes before `asked_` were asked for (-1: none yet), those before `taken_` have been taken.
  int64_t asked_ = -1;
  int64_t taken_ = 0;
  std::map<int64_t, MakeBatch> samples_;
  std::exception_ptr failure_;
  bool closed_ = false;
};

/// Batches from samples that are made elsewhere while the training runs. It never keeps the engine waiting.
class FeedSource : public Source {
 public:
  FeedSource(std::shared_ptr<Feed> feed, at::Device device) : feed_(std::move(feed)), device_(device) {}
  bool Ready(int64_t pass, int64_t end) override;
  Batch Next(int64_t pass, const at::Generator& generator) override;

 private:
  std::shared_ptr<Feed> feed_;
  at::Device device_;
};

}  // namespace torchvid
