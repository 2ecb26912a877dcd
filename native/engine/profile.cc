#include "engine/profile.h"

#include <ATen/Context.h>
#include <torch/csrc/autograd/profiler_kineto.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <set>

namespace torchvid {

namespace profiler = torch::autograd::profiler;

namespace {

/// The process works without a profile: whoever asked for one is told.
void Tell(const char* path, const std::exception& error) {
  std::fprintf(stderr, "TORCHVID_PROFILE: no profile in %s: %s\n", path, error.what());
}

}  // namespace

Profile::Profile() {
  const char* path = std::getenv("TORCHVID_PROFILE");
  if (path == nullptr || *path == '\0') return;
  try {
    std::set<profiler::ActivityType> activities{profiler::ActivityType::CPU};
    if (at::globalContext().hasCUDA()) activities.insert(profiler::ActivityType::CUDA);
    const profiler::ProfilerConfig config(profiler::ProfilerState::KINETO);
    profiler::prepareProfiler(config, activities);
    profiler::enableProfiler(config, activities);
    path_ = path;
  } catch (const std::exception& error) {
    Tell(path, error);
  }
}

Profile::~Profile() {
  if (path_.empty()) return;
  try {
    profiler::disableProfiler()->save(path_);
  } catch (const std::exception& error) {
    Tell(path_.c_str(), error);
  }
}

}  // namespace torchvid
