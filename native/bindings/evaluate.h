#pragma once

#include <napi.h>

namespace torchvid {

/// Registers evaluate(network, source, output).
void RegisterEvaluate(Napi::Env env, Napi::Object exports);

}  // namespace torchvid
