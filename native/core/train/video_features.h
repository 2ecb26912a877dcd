#pragma once

#include <ATen/ATen.h>

#include <string>
#include <utility>
#include <vector>

#include "core/weights/tensor_file.h"

namespace torchvid {

/// The features of one video, wherever they lie.
struct VideoFeatures {
  /// For messages.
  std::string name;
  /// One of (T, crops, F) or (T, F), or one per crop of (T, F) or (T, 1, F).
  std::vector<std::pair<std::string, TensorRow>> files;
  /// In memory, where there are no files: (T, crops, F).
  at::Tensor tensor;
};

/// Float (T, crops, F). Throws ERR_IO, ERR_SHAPE, and ERR_INVALID_ARGUMENT for values that are not finite.
at::Tensor ReadFeatures(const VideoFeatures& video);

/// How a video of any length becomes so many segments.
enum class Resampling {
  /// RTFM: borders are linspace(0, T, segments + 1) truncated to whole numbers; a segment is the mean of the
  /// rows between two of them, or the one row where they coincide.
  kLinspace,
  /// Sultani et al.: borders are round(linspace(1, T, segments + 1)), 1-based, a half away from zero. A video
  /// that has just so many segments stays as it is.
  kSultani,
};

/// (T, crops, F) -> (crops, segments, F).
at::Tensor Resample(const at::Tensor& features, int64_t segments, Resampling resampling);

/// Each row (the last dimension) divided by its L2 norm; rows of zeros stay.
at::Tensor NormaliseRows(const at::Tensor& features);

}  // namespace torchvid
