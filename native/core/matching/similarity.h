#pragma once

#include <ATen/ATen.h>

#include <vector>

namespace torchvid {

/// What a cell's similarity is where there is nothing to be similar to.
constexpr double kNoSimilarity = -1;

/// A frame, or several, to be matched with: per object the unit keys (n, C) of its cells and of all others.
struct Reference {
  struct Sides {
    at::Tensor object;
    at::Tensor others;
  };
  std::vector<Sides> objects;
};

/// From the keys (R, C) of all cells and their labels (objects, R) in 0..1. A cell is an object's when its
/// label is at least a half, or, where no label is, the greatest there is: small objects would vanish
/// otherwise.
Reference MakeReference(const at::Tensor& keys, const at::Tensor& labels);

/// For every query cell, unit keys (Q, C), and every object: the cosine to the nearest cell of the object and
/// to the nearest other cell, (objects, 2, Q). Differentiable: gradients reach the chosen pairs alone.
at::Tensor Similarities(const at::Tensor& query, const Reference& reference);

/// How the best cell of a window is found: cell by cell on the CPU, by whole bands of rows on any device.
/// Both find the same.
enum class LocalSearch { kAsFits, kByBand };

/// The same for query cells (h, w, C) against the cells of one frame, (h, w, C) with labels (objects, h, w),
/// that lie at most `window` rows and columns away.
at::Tensor LocalSimilarities(const at::Tensor& query, const at::Tensor& keys, const at::Tensor& labels,
                             int64_t window, LocalSearch search = LocalSearch::kAsFits);

}  // namespace torchvid
