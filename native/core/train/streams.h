#pragma once

#include <ATen/ATen.h>

namespace torchvid {

/// What random numbers are for: different streams of one seed.
enum class Stream : uint64_t { kOrder = 1, kAugment = 2, kNormalOrder = 3, kAbnormalOrder = 4 };

/// The generator of one epoch or pass, from the seed alone: no state is carried from one to the next.
at::Generator GeneratorFor(uint64_t seed, Stream stream, int64_t index);

/// The order of `count` things in an epoch: shuffled, or 0, 1, 2...; int64.
at::Tensor EpochOrder(int64_t count, bool shuffle, uint64_t seed, Stream stream, int64_t epoch);

}  // namespace torchvid
