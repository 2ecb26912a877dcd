#pragma once

#include <napi.h>

#include <memory>

#include "core/graph/network.h"

namespace torchvid {

/// The only long-lived native object that JavaScript holds: a network. Freed by dispose(), or by the garbage
/// collector, which is told its size.
class NetworkWrap : public Napi::ObjectWrap<NetworkWrap> {
 public:
  static void Register(Napi::Env env, Napi::Object exports);
  static Napi::Value Wrap(Napi::Env env, std::shared_ptr<Network> network);
  /// The network in a JavaScript value; throws ERR_DISPOSED or ERR_INVALID_ARGUMENT.
  static std::shared_ptr<Network> NetworkOf(const Napi::Value& value);

  explicit NetworkWrap(const Napi::CallbackInfo& info);
  ~NetworkWrap() override;

 private:
  Napi::Value Device(const Napi::CallbackInfo& info);
  Napi::Value Parameters(const Napi::CallbackInfo& info);
  Napi::Value Forward(const Napi::CallbackInfo& info);
  Napi::Value Summary(const Napi::CallbackInfo& info);
  Napi::Value Read(const Napi::CallbackInfo& info);
  Napi::Value Write(const Napi::CallbackInfo& info);
  Napi::Value Load(const Napi::CallbackInfo& info);
  Napi::Value Save(const Napi::CallbackInfo& info);
  Napi::Value Clone(const Napi::CallbackInfo& info);
  Napi::Value View(const Napi::CallbackInfo& info);
  Napi::Value Dispose(const Napi::CallbackInfo& info);
  std::shared_ptr<Network> Alive() const;

  std::shared_ptr<Network> network_;
  int64_t bytes_ = 0;
};

}  // namespace torchvid
