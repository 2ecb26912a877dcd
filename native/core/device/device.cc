#include "core/device/device.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/DynamicLibrary.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/GradMode.h>

#include <array>
#include <atomic>
#include <limits>
#include <map>
#include <mutex>

#include "core/torch_error.h"

namespace torchvid {

namespace {

/// Host tensors of so many bytes are copied by way of pinned memory: then nobody waits for the copy.
constexpr size_t kPinnedFrom = size_t{64} << 10;

/// What is known of the devices. Guarded by `mutex`, but for `live`.
struct Known {
  std::mutex mutex;
  CudaLibraries libraries{false, "this LibTorch is a CPU build", false};
  /// How many there are, once counted, and why there is none.
  std::optional<int> count;
  std::string reason;
  /// Of those tried: "" where it works, else why not.
  std::map<int, std::string> trials;
  bool warned = false;
  std::optional<std::string> warning;
  /// Whether a device has been found to work.
  std::atomic<bool> live{false};
};

Known& Devices() {
  static auto* known = new Known;  // never destroyed: other threads may ask until the very end
  return *known;
}

/// Keeps LibTorch's warnings of this thread, which would go to the standard error.
class KeptWarnings : public c10::WarningHandler {
 public:
  void process(const c10::Warning& warning) override { words = warning.msg(); }
  std::string words;
};

/// Runs `body`; "" or what it threw, in words.
template <typename Body>
std::string FailureOf(Body body) {
  try {
    body();
    return "";
  } catch (const c10::Error& error) {
    return FirstLine(error.what_without_backtrace());
  } catch (const std::exception& error) {
    return FirstLine(error.what());
  }
}

/// Counts the devices, and finds out why there is none.
void Count(Known* known) {
  if (known->count) return;
  known->count = 0;
  if (!known->libraries.opened) {
    known->reason = known->libraries.reason;
    return;
  }
  KeptWarnings warnings;
  const c10::WarningUtils::WarningHandlerGuard guard(&warnings);
  const auto failure = FailureOf([&] { known->count = at::detail::getCUDAHooks().getNumGPUs(); });
  if (*known->count > 0) return;
  // A driver that is missing or too old counts no device and says nothing; to initialise CUDA says it.
  const auto words = FailureOf([] { at::globalContext().lazyInitDevice(at::kCUDA); });
  for (const auto& reason : {words, failure, FirstLine(warnings.words)}) {
    if (known->reason.empty()) known->reason = reason;
  }
  if (known->reason.empty()) known->reason = "no CUDA device was found";
}

/// Takes memory, computes and reads back.
void Run(int index) {
  const c10::NoGradGuard no_grad;
  const at::Device device(at::kCUDA, static_cast<at::DeviceIndex>(index));
  constexpr int64_t kNumbers = 256;
  const auto sum = at::ones({kNumbers}, at::TensorOptions().device(device)).add_(1).sum().item<double>();
  if (sum != 2 * kNumbers) throw Error("ERR_DEVICE_UNAVAILABLE", "it computes wrongly");
}

/// "" when the device works, else why not. Each is tried once.
std::string Try(Known* known, int index) {
  Count(known);
  if (*known->count == 0) return known->reason;
  if (index >= *known->count) {
    return "there " + (*known->count == 1
                           ? std::string("is one CUDA device, 'cuda:0'")
                           : "are " + std::to_string(*known->count) + " CUDA devices, the last is 'cuda:" +
                                 std::to_string(*known->count - 1) + "'");
  }
  const auto tried = known->trials.find(index);
  if (tried != known->trials.end()) return tried->second;
  KeptWarnings warnings;
  const c10::WarningUtils::WarningHandlerGuard guard(&warnings);
  auto failure = FailureOf([&] {
    Run(index);
    // From the start on float32 is float32: LibTorch's own default for convolutions is TF32.
    at::globalContext().setAllowTF32CuDNN(false);
    at::globalContext().setAllowTF32CuBLAS(false);
  });
  if (failure.empty()) {
    known->live = true;
  } else if (!warnings.words.empty()) {
    failure += " (" + FirstLine(warnings.words) + ")";
  }
  return known->trials[index] = failure;
}

/// The device's name as CUDA's driver has it. (LibTorch tells it to those alone who include CUDA's headers.)
std::string ModelOf(int index) {
  std::array<char, 256> name{};
  const auto failure = FailureOf([&] {
    at::DynamicLibrary driver("libcuda.so.1", nullptr, true);
    const auto initialise = reinterpret_cast<int (*)(unsigned)>(driver.sym("cuInit"));
    const auto device_of = reinterpret_cast<int (*)(int*, int)>(driver.sym("cuDeviceGet"));
    const auto name_of = reinterpret_cast<int (*)(char*, int, int)>(driver.sym("cuDeviceGetName"));
    int device = 0;
    if (initialise(0) == 0 && device_of(&device, index) == 0)
      name_of(name.data(), static_cast<int>(name.size()) - 1, device);
  });
  return failure.empty() ? std::string(name.data()) : "";
}

/// N of 'cuda' or 'cuda:N'.
std::optional<int> IndexOf(const std::string& name) {
  if (name == "cuda") return 0;
  const std::string prefix = "cuda:";
  if (name.rfind(prefix, 0) != 0) return std::nullopt;
  const auto digits = name.substr(prefix.size());
  if (digits.empty() || digits.size() > 3 || digits.find_first_not_of("0123456789") != std::string::npos)
    return std::nullopt;
  return std::stoi(digits);
}

at::Device CudaAt(int index) { return {at::kCUDA, static_cast<at::DeviceIndex>(index)}; }

}  // namespace

void SetCudaLibraries(CudaLibraries libraries) {
  auto& known = Devices();
  const std::lock_guard lock(known.mutex);
  if (!known.count) known.libraries = std::move(libraries);
}

CudaDevices FindCudaDevices() {
  auto& known = Devices();
  const std::lock_guard lock(known.mutex);
  Count(&known);
  CudaDevices found{{}, known.reason};
  for (int index = 0; index < *known.count; ++index) {
    if (const auto failure = Try(&known, index); !failure.empty()) {
      if (!found.reason.empty()) found.reason += "; ";
      found.reason += "cuda:" + std::to_string(index) + ": " + failure;
      continue;
    }
    CudaDevice device{CudaAt(index), ModelOf(index)};
    FailureOf([&] {
      const auto [free, total] = c10::getDeviceAllocator(at::kCUDA)->getMemoryInfo(device.device.index());
      device.free_bytes = static_cast<int64_t>(free);
      device.total_bytes = static_cast<int64_t>(total);
    });
    found.working.push_back(std::move(device));
  }
  return found;
}

at::Device ResolveDevice(const std::string& name) {
  if (name == "cpu") return {at::kCPU};
  const auto index = name == "auto" ? std::optional<int>(0) : IndexOf(name);
  if (!index) {
    throw Error("ERR_DEVICE_UNAVAILABLE",
                "Device '" + name + "' is not there: wanted 'auto', 'cpu', 'cuda' or 'cuda:N'.");
  }
  auto& known = Devices();
  const std::lock_guard lock(known.mutex);
  const auto failure = Try(&known, *index);
  if (failure.empty()) return CudaAt(*index);
  if (name == "auto") {
    if (!known.warned && (known.libraries.opened || known.libraries.fault)) known.warning = failure;
    known.warned = true;
    return {at::kCPU};
  }
  throw Error(
      "ERR_DEVICE_UNAVAILABLE",
      "Device '" + name + "' is not there: " + failure +
          ". Use device 'cpu', or 'auto' to take a GPU only when one works; 'npx torchvid doctor' shows "
          "what was found.");
}

std::optional<std::string> TakeDeviceWarning() {
  auto& known = Devices();
  const std::lock_guard lock(known.mutex);
  return std::exchange(known.warning, std::nullopt);
}

at::Generator NewGenerator(at::Device device, uint64_t seed) {
  if (device.is_cpu()) return at::detail::createCPUGenerator(seed);
  auto generator =
      at::globalContext().getAcceleratorHooksInterface(device.type()).getNewGenerator(device.index());
  generator.set_current_seed(seed);
  return generator;
}

at::Tensor OnDevice(const at::Tensor& tensor, at::Device device) {
  if (tensor.device() == device) return tensor;
  const bool pin = device.is_cuda() && tensor.is_cpu() && tensor.nbytes() >= kPinnedFrom;
  return (pin ? tensor.pin_memory() : tensor).to(device, /*non_blocking=*/device.is_cuda());
}

int64_t FreeMemory(at::Device device) {
  return static_cast<int64_t>(c10::getDeviceAllocator(device.type())->getMemoryInfo(device.index()).first);
}

void ReleaseDeviceMemory() {
  if (!Devices().live) return;
  FailureOf([] { c10::getDeviceAllocator(at::kCUDA)->emptyCache(); });
}

Tf32Scope::Tf32Scope(bool allowed) : allowed_(allowed && Devices().live) {
  if (!allowed_) return;
  at::globalContext().setAllowTF32CuDNN(true);
  at::globalContext().setAllowTF32CuBLAS(true);
}

Tf32Scope::~Tf32Scope() {
  if (!allowed_) return;
  at::globalContext().setAllowTF32CuDNN(false);
  at::globalContext().setAllowTF32CuBLAS(false);
}

}  // namespace torchvid
