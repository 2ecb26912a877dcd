#pragma once

#include <stdexcept>
#include <string>

namespace torchvid {

/// An error with a stable code. Codes and their meaning: lib/errors.ts.
class Error : public std::runtime_error {
 public:
  Error(std::string code, const std::string& message) : std::runtime_error(message), code_(std::move(code)) {}
  const std::string& code() const { return code_; }

 private:
  std::string code_;
};

inline Error InvalidArgument(const std::string& message) { return {"ERR_INVALID_ARGUMENT", message}; }
inline Error ShapeError(const std::string& message) { return {"ERR_SHAPE", message}; }
inline Error IoError(const std::string& message) { return {"ERR_IO", message}; }

/// Thrown out of a job that was cancelled; the caller's own reason is what JavaScript sees.
class Cancelled : public std::runtime_error {
 public:
  Cancelled() : std::runtime_error("cancelled") {}
};

}  // namespace torchvid
