#include "core/graph/time_convolution.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "core/cancel.h"

namespace torchvid {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

/// Moments whose products are made at a time: bounds the memory of what the taps contribute.
constexpr int64_t kRows = 4096;

/// The sizes of one call. Tap k reads moment t + Shift(k) for output moment t.
struct Sizes {
  int64_t items, time, in, out, taps, padding, dilation;

  int64_t OutTime() const { return time + 2 * padding - dilation * (taps - 1); }
  int64_t Shift(int64_t tap) const { return tap * dilation - padding; }
  int64_t ItemsAtOnce() const { return std::max<int64_t>(kRows / time, 1); }
};

Sizes SizesOf(const at::Tensor& x, const at::Tensor& weight, int64_t padding, int64_t dilation) {
  return {x.size(0), x.size(2), x.size(1), weight.size(0), weight.size(2), padding, dilation};
}

/// From (out, in, taps) to (taps * out, in), the rows of one tap after those of another; or back again. By
/// hand: LibTorch's copy takes three times as long over strides of so few.
void Rearrange(const float* by_channel, float* by_tap, const Sizes& s) {
  at::parallel_for(0, s.out, 1, [&](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o) {
      for (int64_t tap = 0; tap < s.taps; ++tap) {
        const float* __restrict source = by_channel + o * s.in * s.taps + tap;
        float* __restrict target = by_tap + (tap * s.out + o) * s.in;
        for (int64_t c = 0; c < s.in; ++c) target[c] = source[c * s.taps];
      }
    }
  });
}

void RearrangeBack(const float* by_tap, float* by_channel, const Sizes& s) {
  at::parallel_for(0, s.out, 1, [&](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o) {
      for (int64_t tap = 0; tap < s.taps; ++tap) {
        const float* __restrict source = by_tap + (tap * s.out + o) * s.in;
        float* __restrict target = by_channel + o * s.in * s.taps + tap;
        for (int64_t c = 0; c < s.in; ++c) target[c * s.taps] = source[c];
      }
    }
  });
}

at::Tensor ByTap(const at::Tensor& weight, const Sizes& s) {
  if (s.taps == 1) return weight.reshape({s.out, s.in});
  const auto dense = weight.contiguous();
  auto by_tap = at::empty({s.taps * s.out, s.in}, weight.options());
  Rearrange(dense.const_data_ptr<float>(), by_tap.mutable_data_ptr<float>(), s);
  return by_tap;
}

at::Tensor ByChannel(const at::Tensor& by_tap, const Sizes& s) {
  auto weight = at::empty({s.out, s.in, s.taps}, by_tap.options());
  RearrangeBack(by_tap.const_data_ptr<float>(), weight.mutable_data_ptr<float>(), s);
  return weight;
}

/// Some items as rows (items * time, channels).
at::Tensor Rows(const at::Tensor& x, int64_t first, int64_t count) {
  return x.narrow(0, first, count).permute({0, 2, 1}).reshape({-1, x.size(1)});
}

/// Adds up what the taps contribute: from (items, time, taps, out) to (items, out time, out).
void Gather(const float* parts, const float* bias, float* y, const Sizes& s, int64_t items) {
  const auto length = s.OutTime();
  at::parallel_for(0, items * length, 16, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const auto* item = parts + row / length * s.time * s.taps * s.out;
      float* __restrict target = y + row * s.out;
      if (bias != nullptr) {
        std::copy(bias, bias + s.out, target);
      } else {
        std::fill(target, target + s.out, 0.0F);
      }
      for (int64_t tap = 0; tap < s.taps; ++tap) {
        const auto t = row % length + s.Shift(tap);
        if (t < 0 || t >= s.time) continue;
        const float* __restrict part = item + (t * s.taps + tap) * s.out;
        for (int64_t c = 0; c < s.out; ++c) target[c] += part[c];
      }
    }
  });
}

/// The opposite: what reaches each tap of the gradient, from (items, out time, out) to (items, time, taps,
/// out).
void Scatter(const float* gradient, float* parts, const Sizes& s, int64_t items) {
  const auto length = s.OutTime();
  at::parallel_for(0, items * s.time, 16, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const auto* item = gradient + row / s.time * length * s.out;
      for (int64_t tap = 0; tap < s.taps; ++tap) {
        float* target = parts + (row * s.taps + tap) * s.out;
        const auto t = row % s.time - s.Shift(tap);
        if (t < 0 || t >= length) {
          std::fill(target, target + s.out, 0.0F);
        } else {
          std::copy(item + t * s.out, item + (t + 1) * s.out, target);
        }
      }
    }
  });
}

at::Tensor Forward(const at::Tensor& x, const at::Tensor& by_tap, const at::Tensor& bias, const Sizes& s) {
  // No view of anything: what comes next may write over it.
  auto y = at::empty_strided({s.items, s.out, s.OutTime()}, {s.OutTime() * s.out, 1, s.out}, x.options());
  const auto addend = bias.defined() ? bias.contiguous() : bias;
  for (int64_t first = 0; first < s.items; first += s.ItemsAtOnce()) {
    ThrowIfCancelled();
    const auto count = std::min(s.ItemsAtOnce(), s.items - first);
    const auto parts = at::mm(Rows(x, first, count), by_tap.t());
    Gather(parts.const_data_ptr<float>(), bias.defined() ? addend.const_data_ptr<float>() : nullptr,
           y.mutable_data_ptr<float>() + first * s.OutTime() * s.out, s, count);
  }
  return y;
}

class Convolution : public torch::autograd::Function<Convolution> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const std::optional<at::Tensor>& bias, int64_t padding, int64_t dilation) {
    const auto s = SizesOf(x, weight, padding, dilation);
    const auto by_tap = ByTap(weight, s);
    context->save_for_backward({x, by_tap});
    context->saved_data["taps"] = s.taps;
    context->saved_data["padding"] = padding;
    context->saved_data["dilation"] = dilation;
    context->saved_data["bias"] = bias.has_value();
    return Forward(x, by_tap, bias.value_or(at::Tensor()), s);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const auto& x = saved[0];
    const auto& by_tap = saved[1];
    const auto setting = [&](const char* name) { return context->saved_data[name].toInt(); };
    const Sizes s{x.size(0),       x.size(2),          x.size(1),          by_tap.size(0) / setting("taps"),
                  setting("taps"), setting("padding"), setting("dilation")};
    const auto dy = ByTime(gradients[0]);
    auto dw = at::zeros_like(by_tap);
    at::Tensor dx;
    if (context->needs_input_grad(0)) dx = at::empty({s.items, s.time, s.in}, x.options());
    auto parts = at::empty({std::min(s.ItemsAtOnce(), s.items) * s.time, s.taps * s.out}, x.options());
    for (int64_t first = 0; first < s.items; first += s.ItemsAtOnce()) {
      ThrowIfCancelled();
      const auto count = std::min(s.ItemsAtOnce(), s.items - first);
      const auto some = parts.narrow(0, 0, count * s.time);
      Scatter(dy.const_data_ptr<float>() + first * s.OutTime() * s.out, parts.mutable_data_ptr<float>(), s,
              count);
      dw.addmm_(some.t(), Rows(x, first, count));
      if (!dx.defined()) continue;
      auto rows = dx.narrow(0, first, count).view({count * s.time, s.in});
      at::mm_out(rows, some, by_tap);
    }
    return {dx.defined() ? dx.permute({0, 2, 1}) : dx, ByChannel(dw, s),
            context->saved_data["bias"].toBool() ? dy.sum(at::IntArrayRef{0, 2}) : at::Tensor(), Variable(),
            Variable()};
  }
};

}  // namespace

bool LiesByTime(const at::Tensor& x) { return x.dim() == 3 && x.permute({0, 2, 1}).is_contiguous(); }

at::Tensor ByTime(const at::Tensor& x) { return x.permute({0, 2, 1}).contiguous().permute({0, 2, 1}); }

at::Tensor ConvolveByTime(const at::Tensor& x, const at::Tensor& weight,
                          const std::optional<at::Tensor>& bias, int64_t padding, int64_t dilation) {
  return Convolution::apply(x, weight, bias, padding, dilation);
}

}  // namespace torchvid
