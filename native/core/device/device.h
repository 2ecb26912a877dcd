#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace torchvid {

/// What became of CUDA's part of LibTorch, which is opened before the engine is.
struct CudaLibraries {
  bool opened = false;
  /// Why not; empty when it was.
  std::string reason;
  /// Whether that is a fault somebody should hear of, and not a choice or a CPU build.
  bool fault = false;
};

/// To be told once, before any device is asked for. Any thread.
void SetCudaLibraries(CudaLibraries libraries);

/// A CUDA device that works.
struct CudaDevice {
  at::Device device;
  /// Such as "NVIDIA H200"; empty where the driver does not say.
  std::string model;
  int64_t total_bytes = 0;
  int64_t free_bytes = 0;
};

struct CudaDevices {
  std::vector<CudaDevice> working;
  /// Why there is none, or why some do not work; may be empty.
  std::string reason;
};

/// All CUDA devices, each tried once in the life of the process. Engine thread.
CudaDevices FindCudaDevices();

/// The device of a name: 'cpu'; 'cuda' (the first) or 'cuda:N', which is tried when first asked for; 'auto'
/// is the first CUDA device when it works, else the CPU. Throws ERR_DEVICE_UNAVAILABLE with the reason. Any
/// thread; the first trial of a device takes a second or so.
at::Device ResolveDevice(const std::string& name);

/// Why 'auto' gave the CPU although there is a CUDA build of LibTorch here; once in the life of the process.
std::optional<std::string> TakeDeviceWarning();

/// A generator of random numbers of a device.
at::Generator NewGenerator(at::Device device, uint64_t seed);

/// `tensor` of the host on `device`, without waiting for the device where it need not be waited for. The
/// tensor may be let go of at once, but must not be written to again.
at::Tensor OnDevice(const at::Tensor& tensor, at::Device device);

/// Bytes that are free on a device other than the CPU, LibTorch's own reserve not counted.
int64_t FreeMemory(at::Device device);

/// Gives device memory that is kept for reuse back to the system; nothing where no CUDA device is in use.
/// Called when a job has failed: perhaps for want of it.
void ReleaseDeviceMemory();

/// While it lives, float32 products and convolutions on CUDA may round their factors to TF32, if `allowed`.
/// Without one they are exact. No effect on the CPU. Engine thread.
class Tf32Scope {
 public:
  explicit Tf32Scope(bool allowed);
  ~Tf32Scope();
  Tf32Scope(const Tf32Scope&) = delete;
  Tf32Scope& operator=(const Tf32Scope&) = delete;

 private:
  bool allowed_;
};

}  // namespace torchvid
