#pragma once

#include <napi.h>

namespace torchvid {

/// propagate(): a video's objects followed by a matching network.
void RegisterPropagation(Napi::Env env, Napi::Object exports);

}  // namespace torchvid
