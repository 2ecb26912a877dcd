#pragma once

#include <napi.h>

namespace torchvid {

/// Registers maskFromPrompt(image, prompt) and, for its tests, minimumCut(graph).
void RegisterPrompts(Napi::Env env, Napi::Object exports);

}  // namespace torchvid
