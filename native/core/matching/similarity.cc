#include "core/matching/similarity.h"

#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <algorithm>

namespace torchvid {

namespace {

/// So many query cells at once: their products with all keys of a frame stay in the cache.
constexpr int64_t kBlock = 128;

/// The same on a GPU, where one product is to keep all of it busy: so many numbers of products at once.
constexpr int64_t kProductsAtOnce = int64_t{1} << 25;

/// Which cell is nearest is decided in single precision, whatever the network's: near ones differ by little.
class Exactly {
 private:
  c10::NoGradGuard no_grad_;
  c10::impl::ExcludeDispatchKeyGuard no_autocast_{c10::autocast_dispatch_keyset};
};

/// The product with the nearest key, and which it is.
struct Nearest {
  at::Tensor value;  // (Q)
  at::Tensor index;  // (Q), int64; undefined where no gradient is wanted
};

/// Of `query` (Q, C) among `keys` (R, C), R > 0.
Nearest FindNearest(const at::Tensor& query, const at::Tensor& keys, bool with_index) {
  const auto count = query.size(0);
  Nearest nearest{at::empty({count}, query.options()), {}};
  if (with_index) nearest.index = at::empty({count}, query.options().dtype(at::kLong));
  const auto transposed = keys.t();
  const bool cpu = query.is_cpu();
  const auto at_once = cpu ? kBlock : std::max<int64_t>(kProductsAtOnce / keys.size(0), 1);
  const auto blocks = (count + at_once - 1) / at_once;
  const auto run = [&](int64_t begin, int64_t end) {
    const Exactly exactly;
    for (int64_t block = begin; block < end; ++block) {
      const auto first = block * at_once;
      const auto size = std::min(at_once, count - first);
      const auto products = at::mm(query.narrow(0, first, size), transposed);
      auto value = nearest.value.narrow(0, first, size);
      if (with_index) {
        auto index = nearest.index.narrow(0, first, size);
        at::max_out(value, index, products, 1);
      } else {
        at::amax_out(value, products, 1);
      }
    }
  };
  cpu ? at::parallel_for(0, blocks, 1, run) : run(0, blocks);
  return nearest;
}

/// Rows of `keys` (R, C), which may be wanted more than once. On CUDA by the way whose gradient adds up in
/// one order, so that one seed gives one result.
at::Tensor RowsAt(const at::Tensor& keys, const at::Tensor& rows) {
  return keys.is_cpu() ? keys.index_select(0, rows) : keys.index({rows});
}

/// The cosine to the nearest of `keys`.
at::Tensor SimilarityTo(const at::Tensor& query, const at::Tensor& keys) {
  if (keys.size(0) == 0) return at::full({query.size(0)}, kNoSimilarity, query.options());
  const bool gradients = c10::GradMode::is_enabled() && (query.requires_grad() || keys.requires_grad());
  const auto nearest = FindNearest(query.detach(), keys.detach(), gradients);
  if (!gradients) return nearest.value;
  return (query * RowsAt(keys, nearest.index)).sum(1);
}

}  // namespace

Reference MakeReference(const at::Tensor& keys, const at::Tensor& labels) {
  Reference reference;
  const auto where = [&](const at::Tensor& cells) { return keys.index_select(0, cells.nonzero().flatten()); };
  for (const auto& label : labels.detach().unbind(0)) {
    const auto highest = std::min(label.max().item<float>(), 0.5F);
    const auto lowest = std::max(label.min().item<float>(), 0.5F);
    reference.objects.push_back({where(label.ge(highest)), where(label.le(lowest))});
  }
  return reference;
}

at::Tensor Similarities(const at::Tensor& query, const Reference& reference) {
  std::vector<at::Tensor> objects;
  for (const auto& [object, others] : reference.objects)
    objects.push_back(at::stack({SimilarityTo(query, object), SimilarityTo(query, others)}));
  return at::stack(objects);
}

namespace {

/// The frame's rows and columns that a cell may be matched with.
struct Extent {
  int64_t first;
  int64_t last;  // the one after
};

Extent Around(int64_t place, int64_t window, int64_t size) {
  return {std::max<int64_t>(place - window, 0), std::min(place + window + 1, size)};
}

/// Of one row of query cells: the products with the rows around it, (w, rows, w).
at::Tensor RowProducts(const at::Tensor& query, const at::Tensor& keys, int64_t row, const Extent& rows) {
  const auto width = query.size(1);
  const auto band = keys.narrow(0, rows.first, rows.last - rows.first).reshape({-1, keys.size(2)});
  return at::mm(query.select(0, row), band.t()).view({width, rows.last - rows.first, width});
}

/// Of each query cell and object: the best product and which cell it is, among the object's and the others.
struct LocalBest {
  at::Tensor value;  // (objects, 2, h * w)
  at::Tensor index;  // (objects, 2, h * w), -1: none
};

/// On the CPU: row by row, each cell's window alone.
LocalBest FindLocalByCell(const at::Tensor& query, const at::Tensor& keys, const at::Tensor& labels,
                          int64_t window) {
  const auto height = query.size(0);
  const auto width = query.size(1);
  const auto cells = height * width;
  const auto objects = labels.size(0);
  LocalBest best{at::full({objects, 2, cells}, kNoSimilarity, query.options()),
                 at::full({objects, 2, cells}, -1, query.options().dtype(at::kLong))};
  const auto others = labels.le(0.5).to(at::kByte).contiguous();
  const auto* is_other = others.const_data_ptr<uint8_t>();
  auto* value = best.value.mutable_data_ptr<float>();
  auto* index = best.index.mutable_data_ptr<int64_t>();
  at::parallel_for(0, height, 1, [&](int64_t begin, int64_t end) {
    const Exactly exactly;
    for (int64_t y = begin; y < end; ++y) {
      const auto rows = Around(y, window, height);
      const auto products = RowProducts(query, keys, y, rows);
      const auto* product = products.const_data_ptr<float>();
      const auto row_size = (rows.last - rows.first) * width;
      for (int64_t object = 0; object < objects; ++object) {
        const auto* side = is_other + object * cells;
        for (int64_t x = 0; x < width; ++x) {
          const auto columns = Around(x, window, width);
          const auto cell = y * width + x;
          for (int64_t row = rows.first; row < rows.last; ++row) {
            const auto* line = product + x * row_size + (row - rows.first) * width;
            for (int64_t column = columns.first; column < columns.last; ++column) {
              const auto key = row * width + column;
              const auto slot = (object * 2 + side[key]) * cells + cell;
              if (line[column] > value[slot]) {
                value[slot] = line[column];
                index[slot] = key;
              }
            }
          }
        }
      }
    }
  });
  return best;
}

/// For each row the rows around it, laid one after the other: (h, (2 window + 1) * w, ...) of (h, w, ...).
/// Rows that are not there hold `outside`.
at::Tensor Bands(const at::Tensor& rows, int64_t window, double outside) {
  std::vector<int64_t> padding(static_cast<size_t>(2 * rows.dim()), 0);
  padding[padding.size() - 2] = padding[padding.size() - 1] = window;
  // (h, w, ..., 2 window + 1) -> (h, 2 window + 1, w, ...)
  const auto bands = at::constant_pad_nd(rows, padding, outside).unfold(0, 2 * window + 1, 1);
  return bands.movedim(-1, 1).flatten(1, 2);
}

/// On any device: the products of some rows of cells with all of their bands, of which those outside of a
/// cell's window, or on the other side, do not count.
LocalBest FindLocalByBand(const at::Tensor& query, const at::Tensor& keys, const at::Tensor& labels,
                          int64_t window) {
  const Exactly exactly;
  const auto height = query.size(0);
  const auto width = query.size(1);
  const auto objects = labels.size(0);
  const auto reach = 2 * window + 1;
  const auto longs = query.options().dtype(at::kLong);
  LocalBest best{at::empty({objects, 2, height * width}, query.options()),
                 at::empty({objects, 2, height * width}, longs)};
  // 0: the object's, 1: another's, 2: outside of the frame.
  const auto sides = labels.le(0.5).to(at::kByte);
  const auto column = at::arange(width, longs);
  const auto near =
      (column.unsqueeze(1) - column.unsqueeze(0)).abs().le(window).repeat({1, reach});  // (w, band)
  const auto key_bands = Bands(keys, window, 0);
  const auto rows_at_once = std::max<int64_t>(kProductsAtOnce / (width * reach * width), 1);
  for (int64_t first = 0; first < height; first += rows_at_once) {
    const auto count = std::min(rows_at_once, height - first);
    const auto products =
        at::bmm(query.narrow(0, first, count), key_bands.narrow(0, first, count).transpose(1, 2));
    const auto row = at::arange(first, first + count, longs).view({-1, 1});
    for (int64_t object = 0; object < objects; ++object) {
      const auto side_bands = Bands(sides[object], window, 2).narrow(0, first, count).unsqueeze(1);
      for (int64_t side = 0; side < 2; ++side) {
        const auto counts = side_bands.eq(side).logical_and(near);
        const auto [value, index] = products.masked_fill(counts.logical_not(), kNoSimilarity).max(2);
        const auto key = (row - window + index.div(width, "floor")) * width + index.remainder(width);
        const auto slot = [&](const at::Tensor& all) {
          return all[object][side].narrow(0, first * width, count * width);
        };
        slot(best.value).copy_(value.clamp_min(kNoSimilarity).flatten());
        slot(best.index).copy_(at::where(value.gt(kNoSimilarity), key, -1).flatten());
      }
    }
  }
  return best;
}

}  // namespace

at::Tensor LocalSimilarities(const at::Tensor& query, const at::Tensor& keys, const at::Tensor& labels,
                             int64_t window, LocalSearch search) {
  const bool by_cell = search == LocalSearch::kAsFits && query.is_cpu();
  const auto best = (by_cell ? FindLocalByCell : FindLocalByBand)(
      query.detach().contiguous(), keys.detach().contiguous(), labels.detach(), window);
  if (!c10::GradMode::is_enabled() || !(query.requires_grad() || keys.requires_grad())) return best.value;
  const auto channels = query.size(2);
  const auto chosen = RowsAt(keys.reshape({-1, channels}), best.index.clamp_min(0).flatten())
                          .view({labels.size(0), 2, -1, channels});
  const auto products = (query.reshape({1, 1, -1, channels}) * chosen).sum(3);
  return at::where(best.index.ge(0), products, best.value);
}

}  // namespace torchvid
