#pragma once

#include <napi.h>

namespace torchvid {

/// prune.
void RegisterSurgery(Napi::Env env, Napi::Object exports);

}  // namespace torchvid
