#pragma once

#include <napi.h>

namespace torchvid {

/// Registers train(network, settings, onRecords, onWanted?) and evaluate(network, source, output).
void RegisterTrain(Napi::Env env, Napi::Object exports);

}  // namespace torchvid
