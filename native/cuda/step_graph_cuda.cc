// torchvid_cuda: what needs CUDA's own headers. The engine opens it when a CUDA device is in use
// (core/device/ step_graph.h); it links LibTorch's CUDA libraries, and CUDA's own only through them.
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include "core/device/step_graph.h"

#ifdef _WIN32
#define TORCHVID_EXPORT __declspec(dllexport)
#else
#define TORCHVID_EXPORT __attribute__((visibility("default")))
#endif

namespace torchvid {

namespace {

namespace allocator = c10::cuda::CUDACachingAllocator;

class CudaStepGraph : public StepGraph {
 public:
  CudaStepGraph(const std::vector<at::Generator>& generators, const std::function<void()>& work) {
    const auto stream = c10::cuda::getCurrentCUDAStream();
    TORCH_CHECK(stream != c10::cuda::getDefaultCUDAStream(stream.device_index()),
                "work can be recorded on a stream of its own only");
    c10::cuda::device_synchronize();
    // The graph has memory of its own; what is kept for reuse outside would lie idle.
    allocator::emptyCache();
    for (const auto& generator : generators) graph_.register_generator_state(generator);
    // Other threads of the process, JavaScript's among them, stay free to use CUDA as they like. LibTorch's
    // backward thread hands its kernels to the stream being recorded, which is allowed.
    graph_.capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
    try {
      work();
    } catch (...) {
      GiveUp(stream.device_index());
      throw;
    }
    try {
      graph_.capture_end();
    } catch (...) {
      GiveUp(stream.device_index());
      throw;
    }
  }

  void Replay() override { graph_.replay(); }

 private:
  /// Ends a recording that failed as far as that is possible, so that the stream and the allocator work as
  /// before.
  void GiveUp(c10::DeviceIndex device) noexcept {
    try {
      graph_.capture_end();
    } catch (...) {  // says once more that the recording failed
    }
    try {
      // A no-op, told by an error, where capture_end came as far as this.
      allocator::endAllocateToPool(device, graph_.pool());
    } catch (...) {
    }
    // Else the next kernel would report what has been dealt with here.
    (void)cudaGetLastError();
  }

  at::cuda::CUDAGraph graph_;
};

class CudaGraphBackend : public GraphBackend {
 public:
  std::unique_ptr<StepGraph> Capture(const std::vector<at::Generator>& generators,
                                     const std::function<void()>& work) override {
    return std::make_unique<CudaStepGraph>(generators, work);
  }

  DeviceMemory MemoryOf(c10::Device device) const override {
    constexpr auto kAll = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    const auto stats = allocator::getDeviceStats(device.index());
    const auto [free, total] = allocator::get()->getMemoryInfo(device.index());
    return {stats.allocated_bytes[kAll].current, stats.allocated_bytes[kAll].peak,
            stats.reserved_bytes[kAll].current,  stats.reserved_bytes[kAll].peak,
            static_cast<int64_t>(free),          static_cast<int64_t>(total)};
  }

  void ResetPeak(c10::Device device) const override { allocator::resetPeakStats(device.index()); }
};

}  // namespace

}  // namespace torchvid

extern "C" TORCHVID_EXPORT torchvid::GraphBackend* torchvid_cuda_graph_backend(int version) {
  if (version != torchvid::kGraphBackendVersion) return nullptr;
  static auto* backend = new torchvid::CudaGraphBackend;  // lives as long as the process
  return backend;
}
