#pragma once

#include <napi.h>

namespace torchvid {

/// Losses as functions of tensors, with their gradients.
void RegisterLosses(Napi::Env env, Napi::Object exports);

}  // namespace torchvid
