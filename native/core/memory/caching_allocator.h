#pragma once

namespace torchvid {

/// Makes LibTorch's CPU tensors keep their large blocks for reuse. A training pass frees and takes the same
/// gigabyte of activations over and over; given back to the system each time, it costs hundreds of thousands
/// of page faults a pass. Safe to call more than once.
void InstallCachingAllocator();

/// Gives the kept blocks back to the system: called when the engine has been idle for a while.
void ReleaseCachedMemory();

}  // namespace torchvid
