#include "core/graph/max_pool.h"

#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <array>
#include <limits>

#include "core/error.h"

// One function for several kinds of processor, chosen when the program is loaded.
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define TORCHVID_VECTORISED __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define TORCHVID_VECTORISED
#endif

namespace torchvid {

namespace {

/// One dimension of a pool: its windows begin every `stride` places, `before` places ahead of the first.
struct Line {
  int64_t in, out, kernel, stride, before;
  /// Whether windows over the edge meet zeros there, and not nothing.
  bool zeros;

  int64_t First(int64_t window) const { return std::max<int64_t>(window * stride - before, 0); }
  int64_t End(int64_t window) const { return std::min(window * stride - before + kernel, in); }
  bool MeetsZeros(int64_t window) const {
    return zeros && (window * stride < before || window * stride - before + kernel > in);
  }
};

Line LineOf(const at::Tensor& x, const PoolWindows& w, const std::vector<int64_t>& pads, size_t d) {
  const auto at = 2 * (w.kernel.size() - 1 - d);
  Line line{x.size(static_cast<int64_t>(d) + 2), 0, w.kernel[d], w.stride[d], w.padding[d] + pads[at],
            pads[at] + pads[at + 1] > 0};
  if (2 * w.padding[d] > line.kernel) throw ShapeError("the padding is more than half of the windows.");
  const int64_t room = line.in + line.before + pads[at + 1] + w.padding[d] - line.kernel;
  if (room < 0) throw ShapeError("the windows are larger than their padded input.");
  line.out = (room + (w.ceil ? line.stride - 1 : 0)) / line.stride + 1;
  // A window that is there by rounding up begins within the input or the padding before it.
  if (w.ceil && (line.out - 1) * line.stride >= line.in + line.before + pads[at + 1]) --line.out;
  return line;
}

/// to = max(to, from), channel by channel; NaN stays.
TORCHVID_VECTORISED void Raise(float* __restrict to, const float* __restrict from, int64_t channels) {
  for (int64_t c = 0; c < channels; ++c) {
    const float x = from[c];
    to[c] = x > to[c] || x != x ? x : to[c];
  }
}

}  // namespace

std::vector<int64_t> PooledShape(const at::Tensor& x, const PoolWindows& windows,
                                 const std::vector<int64_t>& pads) {
  std::vector<int64_t> shape{x.size(0), x.size(1)};
  for (size_t d = 0; d < windows.kernel.size(); ++d) shape.push_back(LineOf(x, windows, pads, d).out);
  return shape;
}

bool CanMaxPoolClip(const at::Tensor& x, const PoolWindows& windows) {
  return windows.kernel.size() == 3 && x.dim() == 5 && x.device().is_cpu() && x.scalar_type() == at::kFloat &&
         x.numel() > 0 && x.is_contiguous(at::MemoryFormat::ChannelsLast3d) &&
         !(c10::GradMode::is_enabled() && x.requires_grad());
}

at::Tensor MaxPoolClip(const at::Tensor& x, const PoolWindows& windows, const std::vector<int64_t>& zeros) {
  std::array<Line, 3> lines;
  for (size_t d = 0; d < 3; ++d) lines[d] = LineOf(x, windows, zeros, d);
  const auto& [time, rows, columns] = lines;
  const int64_t channels = x.size(1);
  auto y = at::empty({x.size(0), channels, time.out, rows.out, columns.out}, x.options(),
                     at::MemoryFormat::ChannelsLast3d);
  const float* from = x.const_data_ptr<float>();
  float* to = y.mutable_data_ptr<float>();
  const auto one_row = [&, &time = time, &rows = rows, &columns = columns](int64_t row) {
    const int64_t h = row % rows.out;
    const int64_t t = row / rows.out % time.out;
    const float* item = from + row / rows.out / time.out * time.in * rows.in * columns.in * channels;
    for (int64_t w = 0; w < columns.out; ++w) {
      float* target = to + (row * columns.out + w) * channels;
      const bool zero = time.MeetsZeros(t) || rows.MeetsZeros(h) || columns.MeetsZeros(w);
      std::fill(target, target + channels, zero ? 0.0F : -std::numeric_limits<float>::infinity());
      for (int64_t i = time.First(t); i < time.End(t); ++i) {
        for (int64_t j = rows.First(h); j < rows.End(h); ++j) {
          for (int64_t k = columns.First(w); k < columns.End(w); ++k)
            Raise(target, item + ((i * rows.in + j) * columns.in + k) * channels, channels);
        }
      }
    }
  };
  const int64_t count = x.size(0) * time.out * rows.out;
  at::parallel_for(0, count, std::max<int64_t>(count / (4 * at::get_num_threads()), 1),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t row = begin; row < end; ++row) one_row(row);
                   });
  return y;
}

}  // namespace torchvid
