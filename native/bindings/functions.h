#pragma once

#include <napi.h>

namespace torchvid {

/// Registers what is no network's business: losses, metrics, segmentation, reading single tensors, the
/// runtime.
void RegisterFunctions(Napi::Env env, Napi::Object exports);

}  // namespace torchvid
