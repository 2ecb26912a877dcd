#include "core/train/streams.h"

#include <ATen/CPUGeneratorImpl.h>

namespace torchvid {

namespace {

/// splitmix64's finaliser: near numbers become far ones.
uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

}  // namespace

at::Generator GeneratorFor(uint64_t seed, Stream stream, int64_t index) {
  const auto mixed = Mix(Mix(Mix(seed) + static_cast<uint64_t>(stream)) + static_cast<uint64_t>(index));
  return at::make_generator<at::CPUGeneratorImpl>(mixed);
}

at::Tensor EpochOrder(int64_t count, bool shuffle, uint64_t seed, Stream stream, int64_t epoch) {
  const auto options = at::TensorOptions().dtype(at::kLong);
  return shuffle ? at::randperm(count, GeneratorFor(seed, stream, epoch), options)
                 : at::arange(count, options);
}

}  // namespace torchvid
