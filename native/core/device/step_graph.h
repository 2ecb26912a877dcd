#pragma once

#include <ATen/core/Generator.h>
#include <c10/core/Device.h>
#include <c10/core/StreamGuard.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

// What the engine and torchvid_cuda, the small library beside it, have in common. Neither includes the
// other's sources: torchvid_cuda implements GraphBackend, and the engine opens it by its one C function when
// a CUDA device is in use.

namespace torchvid {

/// Work on a device, recorded once, that can be done again as it was: same kernels, same memory.
class StepGraph {
 public:
  StepGraph() = default;
  StepGraph(const StepGraph&) = delete;
  StepGraph& operator=(const StepGraph&) = delete;
  virtual ~StepGraph() = default;
  /// Hands the work to the device, on the current stream; does not wait for it.
  virtual void Replay() = 0;
};

/// Of a device's memory, in bytes: what LibTorch's allocator has, and the whole.
struct DeviceMemory {
  int64_t allocated = 0;
  int64_t peak = 0;  // of `allocated`, since the last ResetPeak
  int64_t reserved = 0;
  int64_t peak_reserved = 0;
  int64_t free = 0;
  int64_t total = 0;
};

/// What needs CUDA's own headers.
class GraphBackend {
 public:
  GraphBackend() = default;
  GraphBackend(const GraphBackend&) = delete;
  GraphBackend& operator=(const GraphBackend&) = delete;
  virtual ~GraphBackend() = default;
  /// Records what `work` hands to the current stream, which must not be the default one; nothing is done yet.
  /// The work reads and writes tensors that outlive the graph, or that it made itself; it waits for nothing
  /// and brings nothing to the host. What it draws from `generators` goes on from replay to replay. Throws
  /// what `work` throws, or c10::Error; the generators then are not to be used again.
  virtual std::unique_ptr<StepGraph> Capture(const std::vector<at::Generator>& generators,
                                             const std::function<void()>& work) = 0;
  virtual DeviceMemory MemoryOf(c10::Device device) const = 0;
  virtual void ResetPeak(c10::Device device) const = 0;
};

/// To be counted up whenever this interface changes.
constexpr int kGraphBackendVersion = 1;

/// The one C function of torchvid_cuda: the backend, or null when the version is another. It lives for good.
using GraphBackendFunction = GraphBackend* (*)(int version);
constexpr const char* kGraphBackendSymbol = "torchvid_cuda_graph_backend";

/// torchvid_cuda's backend, opened at first use from the engine's own folder; null where it is not there or
/// does not load. A CUDA LibTorch must be open already.
GraphBackend* CudaGraphs();
/// Why CudaGraphs() is null; empty when it is not.
const std::string& CudaGraphsProblem();

/// How trainings hand their passes to the device.
struct StepMode {
  /// Passes read nothing back; their numbers are read late.
  bool late = false;
  /// What records passes; null: nothing does.
  GraphBackend* graphs = nullptr;
};

/// For trainings on `device`: late, and recorded where that is possible, on CUDA; neither on the CPU. The
/// environment variable TORCHVID_STEP_GRAPHS=0 turns recording off; with `plain`, trainings on the CPU go the
/// way of CUDA, and what is recorded is simply done again: so tests reach that way without a GPU.
StepMode StepModeOf(c10::Device device);

/// While it lives, work on a CUDA device goes to a stream of the trainings' own, as recording wants. It
/// begins when all work handed over before is done, and all work handed over afterwards waits for it; the
/// host waits for neither. No effect for other devices.
class StepStream {
 public:
  explicit StepStream(c10::Device device);
  ~StepStream();
  StepStream(const StepStream&) = delete;
  StepStream& operator=(const StepStream&) = delete;

 private:
  std::optional<c10::Stream> outer_;
  std::optional<c10::StreamGuard> guard_;
};

/// Waits until a device has done all that was handed to it; never throws. Nothing to do for the CPU.
void FinishDevice(c10::Device device) noexcept;

}  // namespace torchvid
