#include "core/train/video_features.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/graph/network.h"

namespace torchvid {

namespace {

/// Where each segment begins, and where the last ends: segments + 1 row numbers from 0.
std::vector<int64_t> Borders(int64_t rows, int64_t segments, Resampling resampling) {
  // As numpy computes linspace, so that truncation falls on the same side.
  const double start = resampling == Resampling::kLinspace ? 0 : 1;
  const auto end = static_cast<double>(rows);
  const double step = (end - start) / static_cast<double>(segments);
  std::vector<int64_t> borders;
  for (int64_t i = 0; i <= segments; ++i) {
    const double at = i == segments ? end : static_cast<double>(i) * step + start;
    borders.push_back(resampling == Resampling::kLinspace ? static_cast<int64_t>(at)
                                                          : static_cast<int64_t>(std::round(at)) - 1);
  }
  return borders;
}

}  // namespace

at::Tensor ReadFeatures(const VideoFeatures& video) {
  TensorList crops;
  for (const auto& [path, row] : video.files) {
    auto part = ReadTensor(path, row).to(at::kFloat);
    if (part.dim() == 2) part = part.unsqueeze(1);
    crops.push_back(part);
  }
  const auto features = crops.empty() ? video.tensor : crops.size() == 1 ? crops[0] : at::cat(crops, 1);
  if (features.dim() != 3 || features.numel() == 0) {
    throw ShapeError(video.name + ": features have shape " + ShapeText(features.sizes()) +
                     ", wanted (segments, crops, size) with at least one of each.");
  }
  // A sum is not finite exactly when a value is not, or when values are beyond any use.
  if (!std::isfinite(features.sum(at::kDouble).item<double>()))
    throw InvalidArgument(video.name +
                          ": its features hold values that are no finite numbers. Extract it again.");
  return features;
}

at::Tensor Resample(const at::Tensor& features, int64_t segments, Resampling resampling) {
  const auto rows = features.size(0);
  const auto by_crop = features.permute({1, 0, 2});
  if (rows == segments) return by_crop.contiguous();
  const auto borders = Borders(rows, segments, resampling);
  auto out = at::empty({features.size(1), segments, features.size(2)}, features.options());
  for (int64_t i = 0; i < segments; ++i) {
    const auto first = borders[static_cast<size_t>(i)];
    const auto count = std::max<int64_t>(borders[static_cast<size_t>(i) + 1] - first, 1);
    out.select(1, i).copy_(by_crop.narrow(1, first, count).mean(1));
  }
  return out;
}

at::Tensor NormaliseRows(const at::Tensor& features) {
  return features / at::linalg_vector_norm(features, 2, -1, true).clamp_min(1e-12);
}

}  // namespace torchvid
