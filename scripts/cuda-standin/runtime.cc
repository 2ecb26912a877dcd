// CUDA's runtime and driver, as far as LibTorch calls them, without a device: see README.md here.
#include "runtime.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace {

/// What a stream recorded, in order.
struct Graph {
  std::vector<std::function<void()>> work;
};

struct Stream {
  bool recording = false;
  /// Something was asked of it that a recording forbids.
  bool broken = false;
  unsigned long long id = 0;
  Graph* graph = nullptr;
};

/// Everything here is guarded by `mutex`; what a graph replays may come back here, hence recursive.
std::recursive_mutex mutex;
using Lock = std::lock_guard<std::recursive_mutex>;

std::map<char*, size_t> device_blocks;
std::map<char*, size_t> pinned_blocks;
size_t taken = 0;
Stream default_stream;
std::set<Stream*> recording;
unsigned long long recordings = 0;
cudaError_t last_error = cudaSuccess;
thread_local int current_device = 0;
thread_local cudaStreamCaptureMode capture_mode = cudaStreamCaptureModeGlobal;

/// Names of the kernels that libraries register while they are loaded.
std::map<const void*, std::string>& KernelNames() {
  static auto* names = new std::map<const void*, std::string>;
  return *names;
}

size_t Setting(const char* name, size_t otherwise) {
  const char* words = std::getenv(name);
  return words != nullptr ? std::strtoull(words, nullptr, 10) : otherwise;
}

size_t Memory() {
  static const size_t memory = Setting("STANDIN_CUDA_MEMORY", size_t{16} << 30);
  return memory;
}

/// A line for STANDIN_CUDA_LOG, each with the process in front.
template <typename... Arguments>
void Say(const char* format, Arguments... arguments) {
  static FILE* const log = [] {
    const char* path = std::getenv("STANDIN_CUDA_LOG");
    return path != nullptr ? std::fopen(path, "a") : nullptr;
  }();
  if (log == nullptr) return;
  std::fprintf(log, format, arguments...);
  std::fputc('\n', log);
  std::fflush(log);
}

cudaError_t Fail(cudaError_t error) { return last_error = error; }

Stream* Of(cudaStream_t stream) {
  const bool is_default = stream == nullptr || stream == cudaStreamLegacy || stream == cudaStreamPerThread;
  return is_default ? &default_stream : reinterpret_cast<Stream*>(stream);
}

/// For what may not be called while a stream records, which breaks the recording.
cudaError_t Allowed(const char* what) {
  if (recording.empty() || capture_mode == cudaStreamCaptureModeRelaxed) return cudaSuccess;
  Say("forbidden while recording: %s", what);
  for (auto* stream : recording) stream->broken = true;
  return Fail(cudaErrorStreamCaptureUnsupported);
}

bool Holds(const std::map<char*, size_t>& blocks, const void* pointer) {
  const auto* place = static_cast<const char*>(pointer);
  auto after = blocks.upper_bound(const_cast<char*>(place));
  if (after == blocks.begin()) return false;
  --after;
  return place < after->first + after->second;
}

size_t Pages(size_t bytes) { return (bytes + 4095) / 4096 * 4096; }

cudaError_t Copy(void* to, const void* from, size_t bytes, Stream* stream) {
  if (stream->recording) {
    const bool within = Holds(device_blocks, to) && Holds(device_blocks, from);
    // A graph would go on reading host memory that is somebody else's by then.
    if (!within && !Holds(pinned_blocks, to) && !Holds(pinned_blocks, from)) {
      stream->broken = true;
      Say("forbidden while recording: a copy of %zu bytes between the device and memory that is not pinned",
          bytes);
      return Fail(cudaErrorStreamCaptureUnsupported);
    }
    stream->graph->work.push_back([=] { std::memmove(to, from, bytes); });
    return cudaSuccess;
  }
  if (!recording.empty()) Say("a copy of %zu bytes beside a recording", bytes);
  std::memmove(to, from, bytes);
  return cudaSuccess;
}

cudaError_t Launch(const void* kernel) {
  const Lock lock(mutex);
  Say("not computed: %.300s", KernelNames()[kernel].c_str());
  return cudaSuccess;
}

/// Something to point to.
template <typename Type>
Type Anything() {
  static char place[4096];
  return reinterpret_cast<Type>(place);
}

/// Opens what computes, once LibTorch's CUDA libraries are there.
void OpenOperations() {
  static const bool opened = [] {
    Dl_info own{};
    dladdr(reinterpret_cast<void*>(&OpenOperations), &own);
    const std::string path(own.dli_fname);
    const auto file = path.substr(0, path.rfind('/') + 1) + "libstandin_operations.so";
    auto* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    if (library == nullptr) {
      std::fprintf(stderr, "CUDA stand-in: %s\n", dlerror());
      std::abort();
    }
    reinterpret_cast<void (*)()>(dlsym(library, "StandinRegister"))();
    return true;
  }();
  (void)opened;
}

}  // namespace

// What is not here is answered with 0, which is success, by functions that build.mjs makes.
#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT bool StandinRecord(void* stream, std::function<void()> work) {
  const Lock lock(mutex);
  auto* on = Of(static_cast<cudaStream_t>(stream));
  if (on->recording && work) on->graph->work.push_back(std::move(work));
  return on->recording;
}

// --------------------------------------------------------------------------------------------------- the
// device

EXPORT cudaError_t cudaGetDeviceCount(int* count) {
  *count = static_cast<int>(Setting("STANDIN_CUDA_DEVICES", 1));
  if (*count == 0) return Fail(cudaErrorNoDevice);
  OpenOperations();
  return cudaSuccess;
}

EXPORT cudaError_t cudaGetDevice(int* device) {
  *device = current_device;
  return cudaSuccess;
}

EXPORT cudaError_t cudaSetDevice(int device) {
  current_device = device;
  return cudaSuccess;
}

EXPORT cudaError_t cudaDriverGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

EXPORT cudaError_t cudaRuntimeGetVersion(int* version) { return cudaDriverGetVersion(version); }

EXPORT cudaError_t cudaDeviceCanAccessPeer(int* can, int, int) {
  *can = 0;
  return cudaSuccess;
}

EXPORT cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -5;
  return cudaSuccess;
}

EXPORT cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {};
  std::snprintf(properties->name, sizeof properties->name, "a stand-in for a CUDA device");
  properties->totalGlobalMem = Memory();
  properties->major = 9;
  properties->warpSize = 32;
  properties->multiProcessorCount = 132;
  properties->maxThreadsPerBlock = 1024;
  properties->maxThreadsPerMultiProcessor = 2048;
  properties->sharedMemPerBlock = 48 << 10;
  properties->regsPerBlock = properties->regsPerMultiprocessor = 65536;
  for (int i = 0; i < 3; ++i) {
    properties->maxThreadsDim[i] = i == 2 ? 64 : 1024;
    properties->maxGridSize[i] = i == 0 ? 2147483647 : 65535;
  }
  return cudaSuccess;
}

EXPORT cudaError_t cudaDeviceSynchronize() {
  const Lock lock(mutex);
  return Allowed("cudaDeviceSynchronize");
}

// --------------------------------------------------------------------------------------------------- memory

EXPORT cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  const Lock lock(mutex);
  if (const auto error = Allowed("cudaMalloc"); error != cudaSuccess) return error;
  if (taken + bytes > Memory()) return Fail(cudaErrorMemoryAllocation);
  constexpr auto kAccess = PROT_READ | PROT_WRITE;
  void* place = mmap(nullptr, Pages(bytes), kAccess, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (place == MAP_FAILED) return Fail(cudaErrorMemoryAllocation);
  taken += bytes;
  device_blocks[static_cast<char*>(place)] = bytes;
  *pointer = place;
  return cudaSuccess;
}

EXPORT cudaError_t cudaFree(void* pointer) {
  const Lock lock(mutex);
  if (pointer == nullptr) return cudaSuccess;
  if (const auto error = Allowed("cudaFree"); error != cudaSuccess) return error;
  const auto found = device_blocks.find(static_cast<char*>(pointer));
  if (found == device_blocks.end()) return Fail(cudaErrorInvalidValue);
  taken -= found->second;
  munmap(pointer, Pages(found->second));
  device_blocks.erase(found);
  return cudaSuccess;
}

EXPORT cudaError_t cudaHostAlloc(void** pointer, size_t bytes, unsigned) {
  const Lock lock(mutex);
  if (const auto error = Allowed("cudaHostAlloc"); error != cudaSuccess) return error;
  *pointer = std::aligned_alloc(4096, Pages(bytes));
  pinned_blocks[static_cast<char*>(*pointer)] = bytes;
  return cudaSuccess;
}

EXPORT cudaError_t cudaFreeHost(void* pointer) {
  const Lock lock(mutex);
  pinned_blocks.erase(static_cast<char*>(pointer));
  std::free(pointer);
  return cudaSuccess;
}

EXPORT cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  const Lock lock(mutex);
  *total = Memory();
  *free = Memory() - taken;
  return cudaSuccess;
}

EXPORT cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
  const Lock lock(mutex);
  *attributes = {};
  const bool device = Holds(device_blocks, pointer);
  const bool pinned = Holds(pinned_blocks, pointer);
  attributes->type = device ? cudaMemoryTypeDevice : pinned ? cudaMemoryTypeHost : cudaMemoryTypeUnregistered;
  if (device || pinned) attributes->devicePointer = const_cast<void*>(pointer);
  if (!device) attributes->hostPointer = const_cast<void*>(pointer);
  return cudaSuccess;
}

EXPORT cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  const Lock lock(mutex);
  if (const auto error = Allowed("cudaMemcpy"); error != cudaSuccess) return error;
  return Copy(to, from, bytes, &default_stream);
}

EXPORT cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind,
                                   cudaStream_t stream) {
  const Lock lock(mutex);
  return Copy(to, from, bytes, Of(stream));
}

EXPORT cudaError_t cudaMemset(void* to, int value, size_t bytes) {
  const Lock lock(mutex);
  if (const auto error = Allowed("cudaMemset"); error != cudaSuccess) return error;
  std::memset(to, value, bytes);
  return cudaSuccess;
}

EXPORT cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  if (!StandinRecord(stream, [=] { std::memset(to, value, bytes); })) std::memset(to, value, bytes);
  return cudaSuccess;
}

// ---------------------------------------------------------------------------------------------------
// streams, graphs

EXPORT cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned, int) {
  *stream = reinterpret_cast<cudaStream_t>(new Stream);
  return cudaSuccess;
}

EXPORT cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const Lock lock(mutex);
  const bool forbidden = Of(stream)->recording || Of(stream) == &default_stream;
  return forbidden ? Allowed("cudaStreamSynchronize") : cudaSuccess;
}

EXPORT cudaError_t cudaStreamQuery(cudaStream_t stream) {
  const Lock lock(mutex);
  return Of(stream)->recording ? Allowed("cudaStreamQuery") : cudaSuccess;
}

EXPORT cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  const Lock lock(mutex);
  auto* on = Of(stream);
  if (on == &default_stream || on->recording) return Fail(cudaErrorStreamCaptureUnsupported);
  *on = {true, false, ++recordings, new Graph};
  recording.insert(on);
  capture_mode = mode;
  return cudaSuccess;
}

EXPORT cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const Lock lock(mutex);
  auto* on = Of(stream);
  if (!on->recording) return Fail(cudaErrorIllegalState);
  on->recording = false;
  recording.erase(on);
  capture_mode = cudaStreamCaptureModeGlobal;
  *graph = on->broken ? nullptr : reinterpret_cast<cudaGraph_t>(on->graph);
  if (on->broken) return Fail(cudaErrorStreamCaptureInvalidated);
  Say("recorded: %zu operations", on->graph->work.size());
  return cudaSuccess;
}

EXPORT cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  const Lock lock(mutex);
  const auto* on = Of(stream);
  *status = !on->recording ? cudaStreamCaptureStatusNone
            : on->broken   ? cudaStreamCaptureStatusInvalidated
                           : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}

EXPORT cudaError_t cudaStreamGetCaptureInfo(cudaStream_t stream, cudaStreamCaptureStatus* status,
                                            unsigned long long* id, cudaGraph_t* graph,
                                            const cudaGraphNode_t** dependencies,
                                            const cudaGraphEdgeData** edges, size_t* count) {
  const Lock lock(mutex);
  if (id != nullptr) *id = Of(stream)->id;
  if (graph != nullptr) *graph = reinterpret_cast<cudaGraph_t>(Of(stream)->graph);
  if (dependencies != nullptr) *dependencies = nullptr;
  if (edges != nullptr) *edges = nullptr;
  if (count != nullptr) *count = 0;
  return cudaStreamIsCapturing(stream, status);
}

EXPORT cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  std::swap(capture_mode, *mode);
  return cudaSuccess;
}

EXPORT cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* made, cudaGraph_t graph,
                                                 unsigned long long) {
  *made = reinterpret_cast<cudaGraphExec_t>(graph);
  return cudaSuccess;
}

EXPORT cudaError_t cudaGraphInstantiate(cudaGraphExec_t* made, cudaGraph_t graph, unsigned long long) {
  return cudaGraphInstantiateWithFlags(made, graph, 0);
}

/// LibTorch asks how many there are, to warn of a graph without any.
EXPORT cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t*, size_t* count) {
  *count = reinterpret_cast<Graph*>(graph)->work.size();
  return cudaSuccess;
}

EXPORT cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t) {
  const Lock lock(mutex);
  for (const auto& each : reinterpret_cast<Graph*>(graph)->work) each();
  return cudaSuccess;
}

EXPORT cudaError_t cudaStreamAddCallback(cudaStream_t stream, cudaStreamCallback_t callback, void* data,
                                         unsigned) {
  callback(stream, cudaSuccess, data);
  return cudaSuccess;
}

// --------------------------------------------------------------------------------------------------- events,
// errors

EXPORT cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = Anything<cudaEvent_t>();
  return cudaSuccess;
}

EXPORT cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, 0); }

EXPORT cudaError_t cudaEventSynchronize(cudaEvent_t) {
  const Lock lock(mutex);
  return Allowed("cudaEventSynchronize");
}

EXPORT cudaError_t cudaEventQuery(cudaEvent_t) {
  const Lock lock(mutex);
  return Allowed("cudaEventQuery");
}

EXPORT cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t, cudaEvent_t) {
  *milliseconds = 1;
  return cudaSuccess;
}

EXPORT cudaError_t cudaGetLastError() {
  const Lock lock(mutex);
  return std::exchange(last_error, cudaSuccess);
}

EXPORT cudaError_t cudaPeekAtLastError() { return last_error; }

EXPORT const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorNoDevice:
      return "no CUDA-capable device is detected";
    case cudaErrorStreamCaptureUnsupported:
      return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureInvalidated:
      return "operation failed due to a previous error during capture";
    default:
      return "an error of the stand-in";
  }
}

EXPORT const char* cudaGetErrorName(cudaError_t error) { return cudaGetErrorString(error); }

// ---------------------------------------------------------------------------------------------------
// kernels, driver

EXPORT void** __cudaRegisterFatBinary(void*) { return Anything<void**>(); }

EXPORT void __cudaRegisterFunction(void**, const char* host, char*, const char* name, int, void*, void*,
                                   void*, void*, int*) {
  const Lock lock(mutex);
  KernelNames()[host] = name;
}

EXPORT cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* host) {
  *kernel = reinterpret_cast<cudaKernel_t>(const_cast<void*>(host));
  return cudaSuccess;
}

EXPORT unsigned __cudaPushCallConfiguration(dim3, dim3, size_t, cudaStream_t) { return 0; }

EXPORT cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared, void* stream) {
  *grid = *block = dim3(1, 1, 1);
  *shared = 0;
  *static_cast<cudaStream_t*>(stream) = nullptr;
  return cudaSuccess;
}

EXPORT cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3, dim3, void**, size_t, cudaStream_t) {
  return Launch(kernel);
}

EXPORT cudaError_t cudaLaunchKernel(const void* kernel, dim3, dim3, void**, size_t, cudaStream_t) {
  return Launch(kernel);
}

EXPORT cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t*, const void* kernel, void**) {
  return Launch(kernel);
}

/// LibTorch asks what a kernel was compiled for.
EXPORT cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void*) {
  *attributes = {};
  attributes->maxThreadsPerBlock = 1024;
  attributes->binaryVersion = attributes->ptxVersion = 90;
  return cudaSuccess;
}

EXPORT cudaError_t cudaGetDriverEntryPointByVersion(const char*, void** function, unsigned,
                                                    unsigned long long,
                                                    cudaDriverEntryPointQueryResult* result) {
  *function = reinterpret_cast<void*>(static_cast<int (*)()>([] { return 0; }));
  if (result != nullptr) *result = cudaDriverEntryPointSuccess;
  return cudaSuccess;
}

EXPORT int cuDeviceGet(int* device, int index) {
  *device = index;
  return 0;
}

EXPORT int cuDeviceGetName(char* name, int length, int) {
  std::snprintf(name, static_cast<size_t>(length), "a stand-in for a CUDA device");
  return 0;
}

EXPORT int cuDevicePrimaryCtxGetState(int, unsigned* flags, int* active) {
  *flags = 0;
  *active = 1;
  return 0;
}

EXPORT int cuCtxGetCurrent(void** context) {
  *context = Anything<void*>();
  return 0;
}

EXPORT int cublasCreate_v2(void** handle) {
  *handle = Anything<void*>();
  return 0;
}

EXPORT int cudnnCreate(void** handle) {
  *handle = Anything<void*>();
  return 0;
}

/// As new as any: LibTorch asks whether it is the one it was built with, or newer.
EXPORT size_t cudnnGetVersion() { return 99999; }
