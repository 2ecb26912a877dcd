#include "core/device/step_graph.h"

#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <cstdlib>
#include <map>

#ifdef _WIN32
#include <windows.h>
#else
#include <dlfcn.h>
#endif

namespace torchvid {

namespace {

struct Opened {
  GraphBackend* backend = nullptr;
  std::string problem;
};

#ifdef _WIN32

constexpr const char* kLibrary = "torchvid_cuda.dll";

/// The folder of the library that this code is in, with its last separator.
std::string OwnFolder() {
  HMODULE self = nullptr;
  char path[4096];
  const auto flags = GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT;
  if (GetModuleHandleExA(flags, reinterpret_cast<LPCSTR>(&OwnFolder), &self) == 0) return "";
  const std::string whole(path, GetModuleFileNameA(self, path, sizeof path));
  return whole.substr(0, whole.find_last_of("\\/") + 1);
}

/// The library's function, or null and why.
void* FindFunction(const std::string& path, std::string* problem) {
  const auto library = LoadLibraryExA(path.c_str(), nullptr, LOAD_WITH_ALTERED_SEARCH_PATH);
  if (library == nullptr) {
    *problem = path + " does not load: code " + std::to_string(GetLastError());
    return nullptr;
  }
  return reinterpret_cast<void*>(GetProcAddress(library, kGraphBackendSymbol));
}

#else

constexpr const char* kLibrary = "torchvid_cuda.so";

std::string OwnFolder() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<void*>(&OwnFolder), &info) == 0 || info.dli_fname == nullptr) return "";
  const std::string whole(info.dli_fname);
  return whole.substr(0, whole.find_last_of('/') + 1);
}

void* FindFunction(const std::string& path, std::string* problem) {
  int flags = RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE;
#ifdef RTLD_DEEPBIND
  flags |= RTLD_DEEPBIND;  // as the loader opens the engine
#endif
  auto* library = dlopen(path.c_str(), flags);
  if (library == nullptr) {
    const char* reason = dlerror();
    *problem = reason != nullptr ? reason : path + " does not load";
    return nullptr;
  }
  return dlsym(library, kGraphBackendSymbol);
}

#endif

Opened Open() {
  Opened opened;
  auto* function = FindFunction(OwnFolder() + kLibrary, &opened.problem);
  if (function == nullptr) {
    if (opened.problem.empty()) opened.problem = std::string(kLibrary) + " is of another version of torchvid";
    return opened;
  }
  opened.backend = reinterpret_cast<GraphBackendFunction>(function)(kGraphBackendVersion);
  if (opened.backend == nullptr)
    opened.problem = std::string(kLibrary) + " is of another version of torchvid";
  return opened;
}

const Opened& CudaLibrary() {
  static const auto* opened = new Opened(Open());  // never destroyed: it may be asked for until the very end
  return *opened;
}

/// Does again what was to be recorded.
class PlainGraph : public StepGraph {
 public:
  explicit PlainGraph(std::function<void()> work) : work_(std::move(work)) {}
  void Replay() override { work_(); }

 private:
  std::function<void()> work_;
};

class PlainGraphs : public GraphBackend {
 public:
  std::unique_ptr<StepGraph> Capture(const std::vector<at::Generator>&,
                                     const std::function<void()>& work) override {
    return std::make_unique<PlainGraph>(work);
  }
  DeviceMemory MemoryOf(c10::Device) const override { return {}; }
  void ResetPeak(c10::Device) const override {}
};

/// From now on `waiter` does nothing until `other` has done what it was handed so far.
void LetWait(const c10::Stream& waiter, const c10::Stream& other) {
  c10::Event event(other.device_type());
  event.record(other);
  event.block(waiter);
}

/// One for all trainings on a device, so that they use the same memory one after the other. Engine thread.
c10::Stream OwnStream(c10::Device device) {
  static auto* streams = new std::map<c10::Device, c10::Stream, bool (*)(c10::Device, c10::Device)>(
      [](c10::Device a, c10::Device b) { return a.index() < b.index(); });
  const auto known = streams->find(device);
  if (known != streams->end()) return known->second;
  const auto stream = c10::impl::VirtualGuardImpl(device.type()).getStreamFromGlobalPool(device, false);
  streams->emplace(device, stream);
  return stream;
}

}  // namespace

GraphBackend* CudaGraphs() { return CudaLibrary().backend; }

const std::string& CudaGraphsProblem() { return CudaLibrary().problem; }

StepMode StepModeOf(c10::Device device) {
  const char* variable = std::getenv("TORCHVID_STEP_GRAPHS");
  const std::string wanted = variable == nullptr ? "" : variable;
  if (device.is_cuda()) return {true, wanted == "0" ? nullptr : CudaGraphs()};
  if (!device.is_cpu() || wanted != "plain") return {};
  static auto* plain = new PlainGraphs;
  return {true, plain};
}

StepStream::StepStream(c10::Device device) {
  if (!device.is_cuda()) return;
  outer_ = c10::impl::VirtualGuardImpl(device.type()).getStream(device);
  const auto own = OwnStream(device);
  LetWait(own, *outer_);
  guard_.emplace(own);
}

StepStream::~StepStream() {
  if (!guard_) return;
  try {
    LetWait(*outer_, guard_->current_stream());
  } catch (...) {  // a device that has failed: whoever uses it next hears of it
  }
}

void FinishDevice(c10::Device device) noexcept {
  if (!device.is_cuda()) return;
  try {
    c10::impl::VirtualGuardImpl(device.type()).synchronizeDevice(device.index());
  } catch (...) {  // as above
  }
}

}  // namespace torchvid
