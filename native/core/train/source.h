#pragma once

#include <functional>
#include <optional>

#include "core/graph/network.h"
#include "core/image/pixels.h"
#include "core/train/augment.h"

namespace torchvid {

struct Batch {
  TensorMap inputs;
  at::Tensor target;
  /// Of bags: how many of the batch are normal. They come first.
  int64_t normal = 0;
  /// What is left to be done, if anything: makes the batch of this one, whose tensors are then only what
  /// differs from pass to pass and may still be on the host. On a device it is recorded with the pass, so it
  /// is as limited as a pass is (Objective::RecordingKey).
  std::function<Batch(const Batch&)> finish = {};
};

/// The batch, with nothing left to be done.
Batch Finished(const Batch& batch);

/// Where a trainer's batches come from.
class Source {
 public:
  virtual ~Source() = default;
  /// A piece of what must be done before the first batch; true while more remains.
  virtual bool Prepare() { return false; }
  /// Whether `Next(pass)` can be called. False: not yet, ask again; it waits a few milliseconds at most. The
  /// run ends before pass `end`.
  virtual bool Ready(int64_t pass, int64_t end) {
    (void)pass;
    (void)end;
    return true;
  }
  /// The batch of a pass, 0 for the first. Randomness is drawn from `generator`, whose state the trainer's
  /// checkpoints hold, or follows from the source's own seed and `pass` alone.
  virtual Batch Next(int64_t pass, const at::Generator& generator) = 0;
};

/// One picture and its mask, over and over, each time augmented anew (OSVOS online training).
class OneShotSource : public Source {
 public:
  /// `rgb` bytes (H, W, 3), `mask` bytes (H, W); the longer side is at most `max_size` (0: as it is).
  OneShotSource(const at::Tensor& rgb, const at::Tensor& mask, const PixelFormat& format, int64_t max_size,
                std::optional<Augment> augment, at::Device device);
  Batch Next(int64_t pass, const at::Generator& generator) override;

 private:
  at::Tensor image_;
  at::Tensor mask_;
  std::optional<Augment> augment_;
};

}  // namespace torchvid
