#pragma once

#include <string>

namespace torchvid {

/// While it lives, LibTorch's own profiler notes what this thread has done: operations, and kernels on a CUDA
/// device. Then it is written to the file that the environment variable TORCHVID_PROFILE names, as a trace
/// that chrome://tracing and Perfetto show. Without the variable nothing is noted.
class Profile {
 public:
  Profile();
  ~Profile();
  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;

 private:
  std::string path_;
};

}  // namespace torchvid
