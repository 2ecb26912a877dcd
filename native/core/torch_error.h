#pragma once

#include <c10/util/Exception.h>

#include <string>

#include "core/error.h"

namespace torchvid {

/// LibTorch's own words without its stack trace, as one of our errors: out of memory, or `code` for the rest.
inline Error FromTorch(const c10::Error& error, const std::string& where, const std::string& code) {
  std::string words = error.what_without_backtrace();
  words = words.substr(0, words.find('\n'));
  const bool memory = dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr ||
                      words.find("not enough memory") != std::string::npos ||
                      words.find("can't allocate memory") != std::string::npos;
  if (memory) {
    return {"ERR_OUT_OF_MEMORY",
            where + ": " + words + " Use a smaller batch or image (maxSize), or free other networks."};
  }
  return {code, where + ": " + words};
}

}  // namespace torchvid
