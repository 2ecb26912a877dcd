#pragma once

#include <napi.h>

namespace torchvid {

/// Registers train(network, settings, onRecords).
void RegisterTrain(Napi::Env env, Napi::Object exports);

}  // namespace torchvid
