#include "core/graph/dropout.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

namespace torchvid {

namespace {

/// Numbers that one 64-bit hash decides, 32 bits each.
constexpr int64_t kAtOnce = 2;
constexpr double kSteps = 4294967296;

/// splitmix64: the index-th number of a stream.
uint64_t Hash(uint64_t seed, uint64_t index) {
  uint64_t x = seed + (index + 1) * 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

uint64_t Draw(const at::Generator& generator) {
  auto* cpu = at::check_generator<at::CPUGeneratorImpl>(generator);
  const std::lock_guard<std::mutex> lock(cpu->mutex_);
  return cpu->random64();
}

void Fill(float* mask, int64_t count, uint64_t seed, double keep) {
  const auto threshold = static_cast<uint64_t>(std::round(keep * kSteps));
  const auto scale = static_cast<float>(1 / keep);
  at::parallel_for(0, (count + kAtOnce - 1) / kAtOnce, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      auto bits = Hash(seed, static_cast<uint64_t>(i));
      const auto last = std::min(count, (i + 1) * kAtOnce);
      for (int64_t j = i * kAtOnce; j < last; ++j, bits >>= 32)
        mask[j] = (bits & 0xffffffff) < threshold ? scale : 0.0F;
    }
  });
}

}  // namespace

at::Tensor DropoutMask(const at::Tensor& x, double keep, const at::Generator& generator) {
  auto mask = at::empty_like(x);
  if (!x.is_cpu() || x.scalar_type() != at::kFloat || !mask.is_non_overlapping_and_dense())
    return mask.bernoulli_(keep, generator).div_(keep);
  Fill(mask.mutable_data_ptr<float>(), mask.numel(), Draw(generator), keep);
  return mask;
}

}  // namespace torchvid
