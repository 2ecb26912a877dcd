#pragma once

#include <c10/util/Exception.h>

#include <string>

#include "core/error.h"

namespace torchvid {

/// What LibTorch says first; what follows is about its own sources and settings.
inline std::string FirstLine(const std::string& words) { return words.substr(0, words.find('\n')); }

/// LibTorch's own words without its stack trace, as one of our errors: out of memory, or `code` for the rest.
inline Error FromTorch(const c10::Error& error, const std::string& where, const std::string& code) {
  auto words = FirstLine(error.what_without_backtrace());
  const auto says = [&](const char* text) { return words.find(text) != std::string::npos; };
  const bool memory = dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr ||
                      says("not enough memory") || says("can't allocate memory") || says("out of memory") ||
                      says("STATUS_ALLOC_FAILED");
  if (memory) {
    // The sizes matter; LibTorch goes on to explain its own settings.
    words = words.substr(0, words.find(" If reserved but unallocated"));
    return {"ERR_OUT_OF_MEMORY",
            where + ": " + words + " Use a smaller batch or image (maxSize), or free other networks."};
  }
  if (dynamic_cast<const c10::AcceleratorError*>(&error) != nullptr) {
    return {"ERR_DEVICE_UNAVAILABLE",
            where + ": the device failed: " + words +
                " It cannot be used any more in this process: start it again, or use device 'cpu'."};
  }
  return {code, where + ": " + words};
}

}  // namespace torchvid
