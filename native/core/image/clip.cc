#include "core/image/clip.h"

#include <algorithm>

#include "core/device/device.h"
#include "core/error.h"

namespace torchvid {

namespace {

constexpr size_t kPictureRank = 4;
constexpr size_t kClipRank = 5;

/// Views of the frames' windows, of the frames as they are: mirroring the frame moves its window.
std::vector<at::Tensor> WindowsOf(const std::vector<at::Tensor>& frames, const CropWindow& window) {
  if (frames.empty()) throw InvalidArgument("frames: wanted at least one.");
  const auto height = frames[0].size(0);
  const auto width = frames[0].size(1);
  if (window.height < 1 || window.width < 1 || window.top < 0 || window.left < 0 ||
      window.top + window.height > height || window.left + window.width > width) {
    throw ShapeError("window: " + std::to_string(window.width) + " x " + std::to_string(window.height) +
                     " at " + std::to_string(window.left) + ", " + std::to_string(window.top) +
                     " is not inside of frames of " + std::to_string(width) + " x " + std::to_string(height) +
                     " pixels.");
  }
  const auto left = window.flip ? width - window.left - window.width : window.left;
  std::vector<at::Tensor> views;
  for (const auto& frame : frames) {
    if (frame.sizes() != frames[0].sizes()) throw ShapeError("frames: all of a clip must be of one size.");
    views.push_back(frame.narrow(0, window.top, window.height).narrow(1, left, window.width));
  }
  return views;
}

at::Tensor PerChannel(const std::array<double, 3>& values, const at::Tensor& like) {
  std::vector<int64_t> shape(static_cast<size_t>(like.dim()), 1);
  shape[1] = 3;
  const auto row = at::tensor({values[0], values[1], values[2]}, at::TensorOptions().dtype(at::kFloat));
  return OnDevice(row.view(shape), like.device());
}

/// Bytes (T, H, W, 3) to floats as the network takes them.
at::Tensor NetworkInput(at::Tensor clip, const ClipSettings& settings, bool takes_clips) {
  if (settings.window.flip) clip = clip.flip(2);
  if (settings.format.bgr) clip = clip.flip(3);
  clip = takes_clips ? clip.permute({3, 0, 1, 2}).unsqueeze(0) : clip.permute({0, 3, 1, 2});
  auto x = clip.to(at::kFloat, false, false, at::MemoryFormat::Contiguous);
  return x.sub_(PerChannel(settings.format.mean, x)).div_(PerChannel(settings.format.std, x));
}

}  // namespace

at::Tensor ClipFeatures(Network& network, const std::vector<at::Tensor>& frames,
                        const ClipSettings& settings) {
  const auto& inputs = network.graph().inputs;
  const auto rank = inputs[0].shape.size();
  if (inputs.size() != 1 || (rank != kPictureRank && rank != kClipRank)) {
    throw InvalidArgument("The network does not take pictures (N, 3, H, W) or clips (N, 3, T, H, W) alone.");
  }
  const auto clip = OnDevice(at::stack(WindowsOf(frames, settings.window)), network.device());
  const auto x = NetworkInput(clip, settings, rank == kClipRank);
  auto features = network.Forward({{inputs[0].name, x}}, {settings.output}, {}).at(settings.output);
  if (features.dim() < 2 || features.size(0) != x.size(0)) {
    throw ShapeError("The network's output '" + settings.output + "' has shape " +
                     ShapeText(features.sizes()) + ", wanted one row of features for each of " +
                     std::to_string(x.size(0)) + ": (N, F).");
  }
  if (features.dim() > 2) features = features.flatten(2).mean(2);
  return features.mean(0).to(at::kFloat).cpu();
}

}  // namespace torchvid
