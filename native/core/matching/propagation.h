#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "core/graph/network.h"
#include "core/image/pixels.h"
#include "core/image/segment.h"
#include "core/matching/similarity.h"

namespace torchvid {

/// The two halves of a matching network (networks.matcher), over the same tensors. The encoder makes of
/// `image` (N, 3, H, W), H and W multiples of 16, unit keys `key` (N, C, H / 8, W / 8) and `feature2`,
/// `feature4`, `feature8`, `feature16` at these strides; the decoder makes of those features and `cues`
/// (N, 7, H / 8, W / 8) the `logits` (N, 1, H, W).
struct Matcher {
  std::shared_ptr<Network> encoder;
  std::shared_ptr<Network> decoder;
};

/// What the encoder made of a frame.
struct EncodedFrame {
  at::Tensor keys;     // (h, w, C)
  TensorMap features;  // the decoder's inputs but for the cues, (1, ...)
};

/// (objects, 1, H, W) -> what share of each cell is the object's, (objects, H / 8, W / 8).
at::Tensor CellLabels(const at::Tensor& masks);

/// Rows and columns of cells that an object may move from one frame to the next.
constexpr int64_t kWindow = 6;

/// What is known when a frame's turn comes.
struct Past {
  const Reference& first;
  const Reference& memory;            // as `first` while nothing else is remembered
  const at::Tensor& previous_keys;    // (h, w, C)
  const at::Tensor& previous_labels;  // (objects, h, w)
};

/// What matching says of each cell and object, (objects, 7, h, w): see networks.matcher. Differentiable.
at::Tensor CuesOf(const at::Tensor& keys, const Past& past);

struct PropagationSettings {
  PixelFormat format;
  /// Frames are scaled so that their shorter side is this, never up; sides become multiples of 16.
  int64_t side = 480;
  /// And so that their longer side is at most this (0: any).
  int64_t max_size = 0;
  /// Every so many frames one is remembered, the last `memory_size` of them.
  int64_t memory_every = 5;
  int64_t memory_size = 4;
  double threshold = 0.5;
  /// Each frame is looked at in a mirror too, and both answers are meaned.
  bool flip = false;
};

/// The way of objects through a video, frame by frame, from the masks in its first one.
class Propagation {
 public:
  /// `rgb` bytes (H, W, 3), `mask` bytes (H, W) of ids.
  Propagation(Matcher matcher, PropagationSettings settings, const at::Tensor& rgb, const at::Tensor& mask,
              std::vector<int64_t> ids);

  /// The next frame's masks at its own size. The first frame may be given again before the second.
  Segmentation Next(const at::Tensor& rgb);

 private:
  /// One way of looking at the video: as it is, or mirrored.
  struct View {
    Reference first;
    std::deque<std::pair<at::Tensor, at::Tensor>> remembered;  // keys (h * w, C), labels (objects, h * w)
    Reference memory;                                          // empty: nothing but the first frame
    at::Tensor previous_keys;
    at::Tensor previous_labels;
  };

  Segmentation Named(const at::Tensor& probabilities) const;
  std::array<int64_t, 2> SizeFor(const at::Tensor& rgb) const;
  void Remember(View* view) const;

  Matcher matcher_;
  PropagationSettings settings_;
  std::vector<int64_t> ids_;
  std::array<int64_t, 2> size_;
  /// The first frame and the shares of its objects, (objects, H, W); gone once another frame has come.
  at::Tensor first_;
  at::Tensor given_;
  std::vector<View> views_;
  int64_t index_ = 0;
};

}  // namespace torchvid
