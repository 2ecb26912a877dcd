#include "bindings/propagation.h"

#include <c10/core/GradMode.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "bindings/convert.h"
#include "bindings/env_state.h"
#include "bindings/network.h"
#include "core/error.h"
#include "core/matching/propagation.h"
#include "core/matching/similarity.h"

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

/// localSimilarities(query, keys, labels, { window, byBand }): { values, gradient: { query, keys } } of their
/// sum
Napi::Value LocalSimilaritiesOf(const Napi::CallbackInfo& info) {
  return Guarded(info, [&]() -> Napi::Value {
    const auto query = TensorFrom(info[0], "query").to(at::kFloat);
    const auto keys = TensorFrom(info[1], "keys").to(at::kFloat);
    const auto labels = TensorFrom(info[2], "labels").to(at::kFloat);
    const auto options = ObjectFrom(info[3], "options");
    const auto window = IntegerFrom(options.Get("window"), "window");
    const auto search =
        options.Get("byBand").ToBoolean().Value() ? LocalSearch::kByBand : LocalSearch::kAsFits;
    if (query.dim() != 3 || keys.sizes() != query.sizes() || labels.dim() != 3 || query.numel() == 0 ||
        labels.sizes().slice(1) != query.sizes().slice(0, 2) || window < 0)
      throw ShapeError(
          "Wanted a query and keys (h, w, C), labels (objects, h, w) and a window of at least 0.");
    return EnvState::Of(info.Env())->Promise(info.Env(), [=]() -> ToJs {
      const c10::AutoGradMode gradients(true);
      const auto q = query.detach().set_requires_grad(true);
      const auto k = keys.detach().set_requires_grad(true);
      const auto values = LocalSimilarities(q, k, labels, window, search);
      values.sum().backward();
      return [values = values.detach(), by_query = q.grad(), by_keys = k.grad()](Napi::Env env) {
        auto gradient = Napi::Object::New(env);
        gradient.Set("query", TensorTo(env, by_query));
        gradient.Set("keys", TensorTo(env, by_keys));
        auto object = Napi::Object::New(env);
        object.Set("values", TensorTo(env, values));
        object.Set("gradient", gradient);
        return object;
      };
    });
  });
}

}  // namespace

void RegisterPropagation(Napi::Env env, Napi::Object exports) {
  exports.Set("propagate", Napi::Function::New(env, Propagate, "propagate"));
  exports.Set("localSimilarities", Napi::Function::New(env, LocalSimilaritiesOf, "localSimilarities"));
}

}  // namespace torchvid
