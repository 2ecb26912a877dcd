#include "bindings/propagation.h"

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "bindings/convert.h"
#include "bindings/env_state.h"
#include "bindings/network.h"
#include "core/error.h"
#include "core/matching/propagation.h"

namespace torchvid {

namespace {

/// What JavaScript's handle and the steps under way share. Touched on the engine thread, but for `closed`.
struct Followed {
  std::unique_ptr<Propagation> propagation;
  std::atomic<bool> closed{false};
};

PropagationSettings PropagationSettingsFrom(const Napi::Value& value) {
  const auto options = ObjectFrom(value, "options");
  PropagationSettings settings;
  settings.format = PixelFormatFrom(options.Get("pixels"));
  settings.side = IntegerFrom(options.Get("side"), "side");
  settings.max_size = IntegerFrom(options.Get("maxSize"), "maxSize");
  settings.threshold = NumberFrom(options.Get("threshold"), "threshold");
  settings.flip = options.Get("flip").ToBoolean().Value();
  return settings;
}

std::vector<int64_t> IdsFrom(const Napi::Value& value) {
  const auto array = ArrayFrom(value, "ids");
  std::vector<int64_t> ids;
  for (uint32_t i = 0; i < array.Length(); ++i) ids.push_back(IntegerFrom(array.Get(i), "ids"));
  if (ids.empty()) throw InvalidArgument("ids: wanted at least one.");
  return ids;
}

/// next(frame): a promise of { mask, probability }
Napi::Value Next(const Napi::CallbackInfo& info, const std::shared_ptr<Followed>& followed) {
  return Guarded(info, [&]() -> Napi::Value {
    const auto frame = ImageFrom(info[0], "frame");
    return EnvState::Of(info.Env())->Promise(info.Env(), [followed, frame]() -> ToJs {
      if (followed->closed) throw Error("ERR_DISPOSED", "This segmentation is over.");
      const auto segmentation = followed->propagation->Next(frame);
      return [segmentation](Napi::Env env) { return SegmentationTo(env, segmentation); };
    });
  });
}

Napi::Object HandleTo(Napi::Env env, const std::shared_ptr<Followed>& followed) {
  auto handle = Napi::Object::New(env);
  handle.Set("next", Napi::Function::New(
                         env, [followed](const Napi::CallbackInfo& info) { return Next(info, followed); }));
  handle.Set("close",
             Napi::Function::New(env, [followed](const Napi::CallbackInfo&) { followed->closed = true; }));
  return handle;
}

/// propagate(encoder, decoder, { image, mask, ids }, options): a promise of { next(frame), close() }
Napi::Value Propagate(const Napi::CallbackInfo& info) {
  return Guarded(info, [&]() -> Napi::Value {
    const Matcher matcher{NetworkWrap::NetworkOf(info[0]), NetworkWrap::NetworkOf(info[1])};
    const auto first = ObjectFrom(info[2], "first");
    const auto image = ImageFrom(first.Get("image"), "image");
    const auto mask = MaskTensorFrom(first.Get("mask"), "mask");
    if (mask.size(1) != image.size(1) || mask.size(0) != image.size(0))
      throw ShapeError("mask: wanted the size of the image.");
    const auto ids = IdsFrom(first.Get("ids"));
    const auto settings = PropagationSettingsFrom(info[3]);
    return EnvState::Of(info.Env())->Promise(info.Env(), [=]() -> ToJs {
      auto followed = std::make_shared<Followed>();
      followed->propagation = std::make_unique<Propagation>(matcher, settings, image, mask, ids);
      return [followed](Napi::Env env) { return HandleTo(env, followed); };
    });
  });
}

}  // namespace

void RegisterPropagation(Napi::Env env, Napi::Object exports) {
  exports.Set("propagate", Napi::Function::New(env, Propagate, "propagate"));
}

}  // namespace torchvid
