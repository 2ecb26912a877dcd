#include "bindings/functions.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <torch/headeronly/version.h>

#include "bindings/convert.h"
#include "bindings/env_state.h"
#include "bindings/network.h"
#include "core/device/device.h"
#include "core/error.h"
#include "core/image/segment.h"
#include "core/metrics/davis.h"
#include "core/metrics/ranking.h"

namespace torchvid {

namespace {

/// { devices: [{ name, model, memory, free }], reason }
Napi::Object CudaTo(Napi::Env env, const CudaDevices& cuda) {
  auto devices = Napi::Array::New(env, cuda.working.size());
  for (uint32_t i = 0; i < cuda.working.size(); ++i) {
    const auto& device = cuda.working[i];
    auto row = Napi::Object::New(env);
    row.Set("name", device.device.str());
    row.Set("model", device.model);
    row.Set("memory", static_cast<double>(device.total_bytes));
    row.Set("free", static_cast<double>(device.free_bytes));
    devices.Set(i, row);
  }
  auto object = Napi::Object::New(env);
  object.Set("devices", devices);
  object.Set("reason", cuda.reason);
  return object;
}

/// info(): what this build is and how it runs
Napi::Value Info(const Napi::CallbackInfo& info) {
  return Guarded(info, [&]() -> Napi::Value {
    return EnvState::Of(info.Env())->Promise(info.Env(), []() -> ToJs {
      const int threads = at::get_num_threads();
      const auto capability = at::get_cpu_capability();
      const auto cuda = FindCudaDevices();
      return [=](Napi::Env env) {
        auto object = Napi::Object::New(env);
        object.Set("builtFor", TORCH_VERSION);
        object.Set("threads", threads);
        object.Set("cpuCapability", capability);
        object.Set("cuda", CudaTo(env, cuda));
        return object;
      };
    });
  });
}

/// setThreads(count)
Napi::Value SetThreads(const Napi::CallbackInfo& info) {
  return Guarded(info, [&]() -> Napi::Value {
    const auto count = IntegerFrom(info[0], "threads");
    return EnvState::Of(info.Env())->Promise(info.Env(), [count]() -> ToJs {
      at::set_num_threads(static_cast<int>(count));
      return [](Napi::Env env) { return env.Undefined(); };
    });
  });
}

/// readTensor(path, row)
Napi::Value ReadOne(const Napi::CallbackInfo& info) {
  return Guarded(info, [&]() -> Napi::Value {
    const auto path = TextFrom(info[0], "path");
    const auto row = RowFrom(info[1]);
    return EnvState::Of(info.Env())->Promise(info.Env(), [=]() -> ToJs {
      const auto tensor = ReadTensor(path, row);
      return [tensor](Napi::Env env) { return TensorTo(env, tensor); };
    });
  });
}

/// rocAuc(scores, labels), prAuc(scores, labels), averagePrecision(scores, labels)
template <double (*Measure)(const at::Tensor&, const at::Tensor&)>
Napi::Value Ranking(const Napi::CallbackInfo& info) {
  return Guarded(info, [&]() -> Napi::Value {
    const auto scores = TensorFrom(info[0], "scores");
    const auto labels = TensorFrom(info[1], "labels");
    return EnvState::Of(info.Env())->Promise(info.Env(), [=]() -> ToJs {
      const double value = Measure(scores, labels);
      return [value](Napi::Env env) { return Napi::Number::New(env, value); };
    });
  });
}

/// jaccard(prediction, truth), contour(prediction, truth)
template <double (*Measure)(const Mask&, const Mask&)>
Napi::Value Metric(const Napi::CallbackInfo& info) {
  return Guarded(info, [&]() -> Napi::Value {
    auto prediction = MaskFrom(info[0], "mask");
    auto truth = MaskFrom(info[1], "truth");
    if (prediction.width != truth.width || prediction.height != truth.height) {
      throw ShapeError("mask is " + std::to_string(prediction.width) + " x " +
                       std::to_string(prediction.height) + " and truth " + std::to_string(truth.width) +
                       " x " + std::to_string(truth.height) + " pixels; they must be of one size.");
    }
    return EnvState::Of(info.Env())
        ->Promise(info.Env(), [prediction = std::move(prediction), truth = std::move(truth)]() -> ToJs {
          const double value = Measure(prediction, truth);
          return [value](Napi::Env env) { return Napi::Number::New(env, value); };
        });
  });
}

/// segment([network], [id], image, { pixels, output, threshold, maxSize })
Napi::Value SegmentFrame(const Napi::CallbackInfo& info) {
  return Guarded(info, [&]() -> Napi::Value {
    const auto handles = ArrayFrom(info[0], "networks");
    const auto numbers = ArrayFrom(info[1], "ids");
    std::vector<std::shared_ptr<Network>> networks;
    std::vector<int64_t> ids;
    for (uint32_t i = 0; i < handles.Length(); ++i) {
      networks.push_back(NetworkWrap::NetworkOf(handles.Get(i)));
      ids.push_back(IntegerFrom(numbers.Get(i), "ids"));
    }
    if (networks.empty()) throw InvalidArgument("networks: wanted at least one.");
    const auto image = ImageFrom(info[2], "frame");
    const auto options = ObjectFrom(info[3], "options");
    SegmentSettings settings;
    settings.format = PixelFormatFrom(options.Get("pixels"));
    settings.output = TextFrom(options.Get("output"), "output");
    settings.threshold = NumberFrom(options.Get("threshold"), "threshold");
    settings.max_size = IntegerFrom(options.Get("maxSize"), "maxSize");
    return EnvState::Of(info.Env())->Promise(info.Env(), [=]() -> ToJs {
      const auto result = Segment(networks, ids, image, settings);
      return [result](Napi::Env env) { return SegmentationTo(env, result); };
    });
  });
}

/// setCuda({ opened, reason, fault }, warn): what became of CUDA's part of LibTorch, and who hears why 'auto'
/// gives no GPU
Napi::Value SetCuda(const Napi::CallbackInfo& info) {
  return Guarded(info, [&]() -> Napi::Value {
    const auto libraries = ObjectFrom(info[0], "libraries");
    SetCudaLibraries({libraries.Get("opened").ToBoolean().Value(),
                      TextFrom(libraries.Get("reason"), "reason"),
                      libraries.Get("fault").ToBoolean().Value()});
    EnvState::Of(info.Env())->device_warning = Napi::Persistent(info[1].As<Napi::Function>());
    return info.Env().Undefined();
  });
}

/// cancelAll(): blocks until no job is left
Napi::Value CancelAll(const Napi::CallbackInfo& info) {
  EnvState::Of(info.Env())->CancelAll();
  return info.Env().Undefined();
}

/// setErrorFactory((code, message) => Error)
Napi::Value SetErrorFactory(const Napi::CallbackInfo& info) {
  EnvState::Of(info.Env())->error_factory = Napi::Persistent(info[0].As<Napi::Function>());
  return info.Env().Undefined();
}

}  // namespace

void RegisterFunctions(Napi::Env env, Napi::Object exports) {
  const auto add = [&](const char* name, Napi::Value (*function)(const Napi::CallbackInfo&)) {
    exports.Set(name, Napi::Function::New(env, function, name));
  };
  add("info", Info);
  add("setThreads", SetThreads);
  add("cancelAll", CancelAll);
  add("setErrorFactory", SetErrorFactory);
  add("setCuda", SetCuda);
  add("readTensor", ReadOne);
  add("rocAuc", Ranking<RocAuc>);
  add("prAuc", Ranking<PrAuc>);
  add("averagePrecision", Ranking<AveragePrecision>);
  add("jaccard", Metric<Jaccard>);
  add("contour", Metric<Contour>);
  add("segment", SegmentFrame);
}

}  // namespace torchvid
