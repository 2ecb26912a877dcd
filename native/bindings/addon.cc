#include <napi.h>

#include "bindings/env_state.h"
#include "bindings/evaluate.h"
#include "bindings/features.h"
#include "bindings/functions.h"
#include "bindings/losses.h"
#include "bindings/network.h"
#include "bindings/prompts.h"
#include "bindings/propagation.h"
#include "bindings/standard_streams.h"
#include "bindings/surgery.h"
#include "bindings/train.h"

namespace {

Napi::Object Initialise(Napi::Env env, Napi::Object exports) {
  torchvid::UseHostStreams();
  torchvid::EnvState::Install(env);
  torchvid::NetworkWrap::Register(env, exports);
  torchvid::RegisterTrain(env, exports);
  torchvid::RegisterEvaluate(env, exports);
  torchvid::RegisterSurgery(env, exports);
  torchvid::RegisterLosses(env, exports);
  torchvid::RegisterFunctions(env, exports);
  torchvid::RegisterFeatures(env, exports);
  torchvid::RegisterPrompts(env, exports);
  torchvid::RegisterPropagation(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(torchvid, Initialise)
