#pragma once

#include <napi.h>

namespace torchvid {

/// Registers resizeImage(image, size) and clipFeatures(network, frames, options).
void RegisterFeatures(Napi::Env env, Napi::Object exports);

}  // namespace torchvid
