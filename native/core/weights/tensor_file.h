#pragma once

#include <ATen/ATen.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

namespace torchvid {

/// One row of a weights table: where a tensor lies in a file. The table itself is read and checked in
/// TypeScript (lib/weights); everything that could lead outside the file is checked here again.
struct TensorRow {
  at::ScalarType dtype = at::kFloat;
  std::vector<int64_t> shape;
  /// In elements; empty: contiguous.
  std::vector<int64_t> strides;
  /// Bytes from the start of the file.
  int64_t offset = 0;
};

/// Reads one tensor, in its own type, onto the CPU. The file is read, not mapped: a file that shrinks
/// meanwhile gives an error instead of a signal. Throws ERR_IO, or ERR_CHECKPOINT_FORMAT for a row that
/// leaves the file.
at::Tensor ReadTensor(const std::string& path, const TensorRow& row);

/// The type a safetensors name stands for ("F32"), or an error that lists those that are read.
at::ScalarType DtypeOf(const std::string& name);

/// Writes a safetensors file: to a temporary name beside it, flushed, then renamed, so that `path` holds the
/// old file or the whole new one. Throws ERR_IO.
void WriteSafetensors(const std::string& path, const std::map<std::string, std::string>& metadata,
                      const std::vector<std::pair<std::string, at::Tensor>>& tensors);

}  // namespace torchvid
