#pragma once

#include <napi.h>

namespace torchvid {

/// Registers train(network, settings, onRecords, onWanted?).
void RegisterTrain(Napi::Env env, Napi::Object exports);

}  // namespace torchvid
