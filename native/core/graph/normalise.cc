#include "core/graph/normalise.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <numeric>

namespace torchvid {

namespace {

/// So many elements are worth a thread of their own.
constexpr int64_t kGrain = 32768;

struct Channels {
  const float* scale;
  const float* shift;
  const int64_t* index;  // null: every channel in order
  int64_t in;
  int64_t out;
};

template <bool kRelu>
float Value(float x, float scale, float shift) {
  const float y = x * scale + shift;
  return kRelu && y < 0.0F ? 0.0F : y;  // NaN stays
}

/// One map after the other: (N, C, pixels).
template <bool kRelu>
void ByMap(const float* from, float* to, const Channels& c, int64_t batch, int64_t pixels) {
  at::parallel_for(0, batch * c.out, std::max<int64_t>(kGrain / pixels, 1), [&](int64_t begin, int64_t end) {
    for (int64_t map = begin; map < end; ++map) {
      const int64_t channel = map % c.out;
      const int64_t source_channel = c.index == nullptr ? channel : c.index[channel];
      const float* __restrict source = from + ((map / c.out) * c.in + source_channel) * pixels;
      float* __restrict target = to + map * pixels;
      const float scale = c.scale[channel];
      const float shift = c.shift[channel];
      for (int64_t i = 0; i < pixels; ++i) target[i] = Value<kRelu>(source[i], scale, shift);
    }
  });
}

/// The channels of one pixel. Gathering comes first, by itself: the arithmetic then is done on whole vectors,
/// and ReLU is no branch that random signs would mislead.
template <bool kRelu>
void Pixel(const float* from, float* __restrict to, const float* __restrict scale,
           const float* __restrict shift, const int64_t* __restrict index, int64_t out) {
  if (index != nullptr) {
    for (int64_t i = 0; i < out; ++i) to[i] = from[index[i]];
    for (int64_t i = 0; i < out; ++i) to[i] = Value<kRelu>(to[i], scale[i], shift[i]);
  } else {
    for (int64_t i = 0; i < out; ++i) to[i] = Value<kRelu>(from[i], scale[i], shift[i]);
  }
}

/// One pixel after the other: (N * pixels, C).
template <bool kRelu>
void ByPixel(const float* from, float* to, const Channels& c, int64_t pixels) {
  at::parallel_for(0, pixels, std::max<int64_t>(kGrain / c.out, 1), [&](int64_t begin, int64_t end) {
    for (int64_t pixel = begin; pixel < end; ++pixel)
      Pixel<kRelu>(from + pixel * c.in, to + pixel * c.out, c.scale, c.shift, c.index, c.out);
  });
}

template <bool kRelu>
void Run(const at::Tensor& x, at::Tensor& y, const Channels& channels, bool by_pixel) {
  const auto pixels = x.numel() / x.size(0) / x.size(1);
  if (by_pixel) {
    ByPixel<kRelu>(x.data_ptr<float>(), y.data_ptr<float>(), channels, x.size(0) * pixels);
  } else {
    ByMap<kRelu>(x.data_ptr<float>(), y.data_ptr<float>(), channels, x.size(0), pixels);
  }
}

at::Tensor Plainly(const at::Tensor& x, const Normalisation& n) {
  std::vector<int64_t> per_channel(static_cast<size_t>(x.dim()), 1);
  per_channel[1] = -1;
  const auto picked = n.index.defined() ? x.index_select(1, n.index) : x;
  const auto y = picked * n.scale.view(per_channel) + n.shift.view(per_channel);
  return n.relu ? at::relu(y) : y;
}

}  // namespace

at::Tensor Normalise(const at::Tensor& x, const Normalisation& n) {
  const bool by_pixel = x.dim() == 4 && x.is_contiguous(at::MemoryFormat::ChannelsLast) && !x.is_contiguous();
  if (x.device() != at::kCPU || x.scalar_type() != at::kFloat || x.dim() < 3 ||
      !(by_pixel || x.is_contiguous()))
    return Plainly(x, n);
  auto sizes = x.sizes().vec();
  sizes[1] = n.scale.size(0);
  auto y = by_pixel ? at::empty(sizes, x.options(), at::MemoryFormat::ChannelsLast)
                    : at::empty(sizes, x.options());
  if (x.numel() == 0) return y;
  const Channels channels{n.scale.data_ptr<float>(), n.shift.data_ptr<float>(),
                          n.index.defined() ? n.index.data_ptr<int64_t>() : nullptr, x.size(1), sizes[1]};
  n.relu ? Run<true>(x, y, channels, by_pixel) : Run<false>(x, y, channels, by_pixel);
  return y;
}

}  // namespace torchvid
