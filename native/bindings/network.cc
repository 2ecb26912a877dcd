#include "bindings/network.h"

#include "bindings/convert.h"
#include "bindings/env_state.h"
#include "core/device/device.h"
#include "core/error.h"

namespace torchvid {

namespace {

/// createNetwork(graph, { seed, device })
Napi::Value CreateNetwork(const Napi::CallbackInfo& info) {
  return Guarded(info, [&]() -> Napi::Value {
    auto graph = GraphFrom(info[0]);
    const auto options = ObjectFrom(info[1], "options");
    const auto seed = static_cast<uint64_t>(IntegerFrom(options.Get("seed"), "seed"));
    const auto device = TextFrom(options.Get("device"), "device");
    return EnvState::Of(info.Env())->Promise(info.Env(), [graph = std::move(graph), seed, device]() -> ToJs {
      auto network = Network::Create(graph, seed, ResolveDevice(device));
      return [network](Napi::Env env) {
        EnvState::Of(env)->WarnOfDevice(env);
        return NetworkWrap::Wrap(env, network);
      };
    });
  });
}

}  // namespace

void NetworkWrap::Register(Napi::Env env, Napi::Object exports) {
  const auto type = DefineClass(
      env, "NativeNetwork",
      {InstanceMethod("parameters", &NetworkWrap::Parameters), InstanceMethod("device", &NetworkWrap::Device),
       InstanceMethod("forward", &NetworkWrap::Forward), InstanceMethod("summary", &NetworkWrap::Summary),
       InstanceMethod("read", &NetworkWrap::Read), InstanceMethod("write", &NetworkWrap::Write),
       InstanceMethod("load", &NetworkWrap::Load), InstanceMethod("save", &NetworkWrap::Save),
       InstanceMethod("clone", &NetworkWrap::Clone), InstanceMethod("view", &NetworkWrap::View),
       InstanceMethod("dispose", &NetworkWrap::Dispose)});
  EnvState::Of(env)->network_constructor = Napi::Persistent(type);
  exports.Set("createNetwork", Napi::Function::New(env, CreateNetwork, "createNetwork"));
}

NetworkWrap::NetworkWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<NetworkWrap>(info) {
  if (info.Length() != 1 || !info[0].IsExternal())
    throw Napi::TypeError::New(info.Env(), "use createNetwork");
  network_ = *info[0].As<Napi::External<std::shared_ptr<Network>>>().Data();
  bytes_ = network_->bytes();
  Napi::MemoryManagement::AdjustExternalMemory(info.Env(), bytes_);
}

NetworkWrap::~NetworkWrap() {
  if (network_) Napi::MemoryManagement::AdjustExternalMemory(Env(), -bytes_);
}

Napi::Value NetworkWrap::Wrap(Napi::Env env, std::shared_ptr<Network> network) {
  return EnvState::Of(env)->network_constructor.New(
      {Napi::External<std::shared_ptr<Network>>::New(env, &network)});
}

std::shared_ptr<Network> NetworkWrap::NetworkOf(const Napi::Value& value) {
  if (!value.IsObject()) throw InvalidArgument("network: wanted a native network.");
  const auto object = value.As<Napi::Object>();
  if (!object.InstanceOf(EnvState::Of(value.Env())->network_constructor.Value())) {
    throw InvalidArgument("network: wanted a native network.");
  }
  return Napi::ObjectWrap<NetworkWrap>::Unwrap(object)->Alive();
}

std::shared_ptr<Network> NetworkWrap::Alive() const {
  if (!network_) throw Error("ERR_DISPOSED", "The network was disposed. Create or open it again.");
  return network_;
}

Napi::Value NetworkWrap::Parameters(const Napi::CallbackInfo& info) {
  return Guarded(info, [&]() -> Napi::Value {
    const auto env = info.Env();
    const auto network = Alive();
    auto rows = Napi::Array::New(env, network->entries().size());
    uint32_t i = 0;
    for (const auto& entry : network->entries()) {
      auto row = Napi::Object::New(env);
      row.Set("name", entry.name);
      row.Set("shape", ShapeTo(env, entry.tensor.sizes()));
      row.Set("trainable", entry.trainable);
      rows.Set(i++, row);
    }
    return rows;
  });
}

/// device(): 'cpu' or 'cuda:N'
Napi::Value NetworkWrap::Device(const Napi::CallbackInfo& info) {
  return Guarded(info,
                 [&]() -> Napi::Value { return Napi::String::New(info.Env(), Alive()->device().str()); });
}

/// forward(inputs, { training, outputs, seed })
Napi::Value NetworkWrap::Forward(const Napi::CallbackInfo& info) {
  return Guarded(info, [&]() -> Napi::Value {
    const auto network = Alive();
    const auto inputs = TensorMapFrom(info[0], "input");
    const auto options = ObjectFrom(info[1], "options");
    const bool training = options.Get("training").ToBoolean().Value();
    const auto outputs = TextsFrom(options.Get("outputs"), "outputs");
    const auto seed = static_cast<uint64_t>(IntegerFrom(options.Get("seed"), "seed"));
    return EnvState::Of(info.Env())->Promise(info.Env(), [=]() -> ToJs {
      RunContext context;
      context.training = training;
      if (training) context.generator = NewGenerator(network->device(), seed);
      auto results = network->Forward(inputs, outputs, context);
      if (training) network->Touch();                              // running statistics moved
      for (auto& [name, tensor] : results) tensor = tensor.cpu();  // here, not on the JavaScript thread
      return [results](Napi::Env env) {
        auto object = Napi::Object::New(env);
        for (const auto& [name, tensor] : results) object.Set(name, TensorTo(env, tensor));
        return object;
      };
    });
  });
}

/// summary({ input: shape })
Napi::Value NetworkWrap::Summary(const Napi::CallbackInfo& info) {
  return Guarded(info, [&]() -> Napi::Value {
    const auto network = Alive();
    const auto shapes = ShapesFrom(info[0]);
    return EnvState::Of(info.Env())->Promise(info.Env(), [=]() -> ToJs {
      auto summary = network->Summarise(shapes);
      return [summary = std::move(summary)](Napi::Env env) { return SummaryTo(env, summary); };
    });
  });
}

/// read(name)
Napi::Value NetworkWrap::Read(const Napi::CallbackInfo& info) {
  return Guarded(info, [&]() -> Napi::Value {
    const auto network = Alive();
    const auto name = TextFrom(info[0], "name");
    return EnvState::Of(info.Env())->Promise(info.Env(), [=]() -> ToJs {
      network->CheckNotDisposed();
      const auto tensor = network->entry(name).tensor.detach().clone().cpu();
      return [tensor](Napi::Env env) { return TensorTo(env, tensor); };
    });
  });
}

/// write(name, tensor)
Napi::Value NetworkWrap::Write(const Napi::CallbackInfo& info) {
  return Guarded(info, [&]() -> Napi::Value {
    const auto network = Alive();
    const auto name = TextFrom(info[0], "name");
    const auto tensor = TensorFrom(info[1], name);
    return EnvState::Of(info.Env())->Promise(info.Env(), [=]() -> ToJs {
      network->CheckNotDisposed();
      const auto& target = network->entry(name).tensor;
      if (target.sizes() != tensor.sizes()) {
        throw ShapeError("'" + name + "' has shape " + ShapeText(target.sizes()) + ", got " +
                         ShapeText(tensor.sizes()) + ".");
      }
      target.copy_(tensor);
      network->Touch();
      return [](Napi::Env env) { return env.Undefined(); };
    });
  });
}

/// load(path, [{ name, tensor }]): all of them or, on an error, none.
Napi::Value NetworkWrap::Load(const Napi::CallbackInfo& info) {
  return Guarded(info, [&]() -> Napi::Value {
    const auto network = Alive();
    const auto path = TextFrom(info[0], "path");
    const auto rows = ArrayFrom(info[1], "tensors");
    std::vector<std::pair<std::string, TensorRow>> wanted;
    for (uint32_t i = 0; i < rows.Length(); ++i) {
      const auto row = ObjectFrom(rows.Get(i), "tensors");
      wanted.emplace_back(TextFrom(row.Get("name"), "name"), RowFrom(row.Get("tensor")));
    }
    return EnvState::Of(info.Env())->Promise(info.Env(), [=]() -> ToJs {
      network->CheckNotDisposed();
      TensorList read;
      for (const auto& [name, row] : wanted) {
        const auto& target = network->entry(name).tensor;
        if (target.sizes() != at::IntArrayRef(row.shape)) {
          throw Error("ERR_CHECKPOINT_MISMATCH", path + ": '" + name + "' has shape " + ShapeText(row.shape) +
                                                     ", wanted " + ShapeText(target.sizes()) + ".");
        }
        read.push_back(ReadTensor(path, row));
      }
      for (size_t i = 0; i < wanted.size(); ++i) network->entry(wanted[i].first).tensor.copy_(read[i]);
      network->Touch();
      return [](Napi::Env env) { return env.Undefined(); };
    });
  });
}

/// save(path, metadata)
Napi::Value NetworkWrap::Save(const Napi::CallbackInfo& info) {
  return Guarded(info, [&]() -> Napi::Value {
    const auto network = Alive();
    const auto path = TextFrom(info[0], "path");
    const auto metadata = TextMapFrom(info[1], "metadata");
    const bool half = info[2].ToBoolean().Value();
    return EnvState::Of(info.Env())->Promise(info.Env(), [=]() -> ToJs {
      network->CheckNotDisposed();
      std::vector<std::pair<std::string, at::Tensor>> tensors;
      for (const auto& entry : network->entries()) {
        const auto tensor = entry.tensor.detach();
        tensors.emplace_back(entry.name, half && tensor.is_floating_point() ? tensor.to(at::kHalf) : tensor);
      }
      WriteSafetensors(path, metadata, tensors);
      return [](Napi::Env env) { return env.Undefined(); };
    });
  });
}

Napi::Value NetworkWrap::Clone(const Napi::CallbackInfo& info) {
  return Guarded(info, [&]() -> Napi::Value {
    const auto network = Alive();
    return EnvState::Of(info.Env())->Promise(info.Env(), [=]() -> ToJs {
      network->CheckNotDisposed();
      auto copy = network->Clone();
      return [copy](Napi::Env env) { return NetworkWrap::Wrap(env, copy); };
    });
  });
}

/// view(graph)
Napi::Value NetworkWrap::View(const Napi::CallbackInfo& info) {
  return Guarded(info, [&]() -> Napi::Value {
    const auto network = Alive();
    auto graph = GraphFrom(info[0]);
    return EnvState::Of(info.Env())->Promise(info.Env(), [network, graph = std::move(graph)]() -> ToJs {
      network->CheckNotDisposed();
      auto view = network->View(graph);
      return [view](Napi::Env env) { return NetworkWrap::Wrap(env, view); };
    });
  });
}

Napi::Value NetworkWrap::Dispose(const Napi::CallbackInfo& info) {
  if (network_) {
    network_->Dispose();
    network_.reset();
    Napi::MemoryManagement::AdjustExternalMemory(info.Env(), -bytes_);
  }
  return info.Env().Undefined();
}

}  // namespace torchvid
