#include "bindings/features.h"

#include <memory>
#include <vector>

#include "bindings/convert.h"
#include "bindings/env_state.h"
#include "bindings/network.h"
#include "core/error.h"
#include "core/image/clip.h"
#include "core/image/resize.h"

namespace torchvid {

namespace {

/// Larger pictures are a slip.
constexpr int64_t kMaximumSide = 65535;

/// A resize on a thread of Node's pool: it needs no LibTorch, so it runs while the engine is busy.
struct ResizeWork {
  explicit ResizeWork(napi_deferred promise) : deferred(promise) {}

  napi_async_work work = nullptr;
  napi_deferred deferred;
  at::Tensor image;
  ImageSize size{};
  std::vector<uint8_t> resized;
  bool failed = false;
};

void Resize(napi_env, void* data) {
  auto& work = *static_cast<ResizeWork*>(data);
  const ImageSize from{work.image.size(1), work.image.size(0)};
  try {
    work.resized = ResizeRgb(work.image.const_data_ptr<uint8_t>(), from, work.size);
  } catch (const std::bad_alloc&) {
    work.failed = true;
  }
}

/// { data, width, height, channels }
Napi::Object ResizedImage(Napi::Env env, const ResizeWork& work) {
  auto buffer = Napi::ArrayBuffer::New(env, work.resized.size());
  std::copy(work.resized.begin(), work.resized.end(), static_cast<uint8_t*>(buffer.Data()));
  auto object = Napi::Object::New(env);
  object.Set("data", Napi::Uint8Array::New(env, work.resized.size(), buffer, 0));
  object.Set("width", Napi::Number::New(env, static_cast<double>(work.size.width)));
  object.Set("height", Napi::Number::New(env, static_cast<double>(work.size.height)));
  object.Set("channels", Napi::Number::New(env, 3));
  return object;
}

void FinishResize(napi_env env, napi_status status, void* data) {
  const std::unique_ptr<ResizeWork> work(static_cast<ResizeWork*>(data));
  napi_delete_async_work(env, work->work);
  if (status != napi_ok) return;  // the environment is closing
  Napi::HandleScope scope(env);
  try {
    if (work->failed) {
      const Error error("ERR_OUT_OF_MEMORY", "The host is out of memory. Use smaller frames (resize).");
      napi_reject_deferred(env, work->deferred,
                           EnvState::Of(env)->ToError(env, std::make_exception_ptr(error)));
    } else {
      napi_resolve_deferred(env, work->deferred, ResizedImage(env, *work));
    }
  } catch (const Napi::Error& error) {
    napi_reject_deferred(env, work->deferred, error.Value());
  }
}

/// resizeImage(image, { width, height })
Napi::Value ResizeImage(const Napi::CallbackInfo& info) {
  return Guarded(info, [&]() -> Napi::Value {
    const Napi::Env env = info.Env();
    const auto image = ImageFrom(info[0], "image");
    const auto size = ObjectFrom(info[1], "size");
    const auto side = [&](const char* key) {
      const auto pixels = IntegerFrom(size.Get(key), std::string("size.") + key);
      if (pixels < 1 || pixels > kMaximumSide) {
        throw InvalidArgument(std::string("size.") + key + ": got " + std::to_string(pixels) +
                              ", wanted a whole number from 1 to " + std::to_string(kMaximumSide) + ".");
      }
      return pixels;
    };
    const ImageSize to{side("width"), side("height")};
    napi_deferred deferred = nullptr;
    napi_value promise = nullptr;
    napi_create_promise(env, &deferred, &promise);
    auto work = std::make_unique<ResizeWork>(deferred);
    work->image = image;
    work->size = to;
    const auto name = Napi::String::New(env, "torchvid.resizeImage");
    if (napi_create_async_work(env, nullptr, name, Resize, FinishResize, work.get(), &work->work) !=
            napi_ok ||
        napi_queue_async_work(env, work->work) != napi_ok) {
      throw Error("ERR_DISPOSED", "This Node environment is closing.");
    }
    work.release();  // FinishResize's now
    return {env, promise};
  });
}

ClipSettings ClipSettingsFrom(const Napi::Value& value) {
  const auto options = ObjectFrom(value, "options");
  const auto window = ObjectFrom(options.Get("window"), "window");
  const auto place = [&](const char* key) {
    return IntegerFrom(window.Get(key), std::string("window.") + key);
  };
  ClipSettings settings;
  settings.format = PixelFormatFrom(options.Get("pixels"));
  settings.window = {place("top"), place("left"), place("height"), place("width"),
                     window.Get("flip").ToBoolean().Value()};
  settings.output = TextFrom(options.Get("output"), "output");
  return settings;
}

/// clipFeatures(network, frames, { pixels, window, output, device })
Napi::Value FeaturesOfClip(const Napi::CallbackInfo& info) {
  return Guarded(info, [&]() -> Napi::Value {
    const auto network = NetworkWrap::NetworkOf(info[0]);
    const auto images = ArrayFrom(info[1], "frames");
    std::vector<at::Tensor> frames;
    for (uint32_t i = 0; i < images.Length(); ++i)
      frames.push_back(ImageFrom(images.Get(i), "frames[" + std::to_string(i) + "]"));
    const auto settings = ClipSettingsFrom(info[2]);
    CheckDevice(info[2].As<Napi::Object>().Get("device"), network->device());
    return EnvState::Of(info.Env())->Promise(info.Env(), [=, frames = std::move(frames)]() -> ToJs {
      const auto features = ClipFeatures(*network, frames, settings);
      return [features](Napi::Env env) { return DataTo(env, features); };
    });
  });
}

}  // namespace

void RegisterFeatures(Napi::Env env, Napi::Object exports) {
  exports.Set("resizeImage", Napi::Function::New(env, ResizeImage, "resizeImage"));
  exports.Set("clipFeatures", Napi::Function::New(env, FeaturesOfClip, "clipFeatures"));
}

}  // namespace torchvid
