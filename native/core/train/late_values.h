#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>

#include <deque>
#include <optional>
#include <vector>

namespace torchvid {

/// Rows of numbers on their way from a device to the host, in order. Nobody waits for them but who asks; only
/// the number of rows under way is bounded, which bounds how far the host runs ahead of the device.
class LateValues {
 public:
  explicit LateValues(at::Device device) : device_(device) {}

  /// Sends a row of doubles as it will stand when the device has done what was handed to it so far. Waits for
  /// the row `kAhead` before it.
  void Send(const at::Tensor& row);
  /// Whether the oldest row is there, after waiting for it if `wait`.
  bool Arrived(bool wait) const;
  /// The oldest row, which is there.
  std::vector<double> Take();
  bool empty() const { return rows_.empty(); }

 private:
  /// Enough that the device is never out of work, few enough that an abort need not wait for long.
  static constexpr size_t kAhead = 4;

  struct Row {
    at::Tensor host;
    /// Recorded after the copy; none where a copy is there at once.
    std::optional<c10::Event> copied;
  };
  at::Device device_;
  std::deque<Row> rows_;
};

}  // namespace torchvid
