#pragma once

#include <ATen/ATen.h>
#include <napi.h>

#include <exception>
#include <functional>
#include <memory>

#include "engine/engine.h"

namespace torchvid {

/// Runs on the JavaScript thread of one environment.
using OnJs = std::function<void(Napi::Env)>;
/// Makes a JavaScript value, on the JavaScript thread.
using ToJs = std::function<Napi::Value(Napi::Env)>;

/// What belongs to one Node environment (the main thread or a Worker): its way back from the engine thread,
/// its error class, its constructors. Nothing is static, so that several environments can live in one
/// process.
class EnvState : public std::enable_shared_from_this<EnvState> {
 public:
  /// Makes the state of `env` and ties it to the environment's life.
  static void Install(Napi::Env env);
  static std::shared_ptr<EnvState> Of(Napi::Env env);

  /// Any thread: runs `work` on the JavaScript thread, or drops it when the environment is closing.
  void Post(OnJs work);

  /// JavaScript thread: hands a job to the engine; while any job is under way the process stays alive.
  void Submit(std::shared_ptr<Job> job);
  /// JavaScript thread: cancels all jobs of this environment and waits until the engine has let go of them.
  void CancelAll();
  /// JavaScript thread, from the job's last Post: the job has been answered.
  void Settled();

  /// Submits a job that settles `deferred`; gives { promise, abort() }.
  Napi::Object Start(Napi::Env env, const std::shared_ptr<Job>& job, const Napi::Promise::Deferred& deferred);

  /// Submits `work` as one step and gives a promise of what its `ToJs` makes.
  Napi::Promise Promise(Napi::Env env, std::function<ToJs()> work);

  /// JavaScript thread: passes on why 'auto' gave no GPU, when there is something to say.
  void WarnOfDevice(Napi::Env env);

  /// The JavaScript error that stands for `error`.
  Napi::Value ToError(Napi::Env env, const std::exception_ptr& error);

  Napi::FunctionReference error_factory;   // (code, message) => Error
  Napi::FunctionReference device_warning;  // (reason) => void
  Napi::FunctionReference network_constructor;

 private:
  void Close();

  std::shared_ptr<Engine> engine_;
  napi_threadsafe_function queue_ = nullptr;
  napi_env env_ = nullptr;
  int active_ = 0;
};

/// Wraps a binding's body: C++ errors become JavaScript errors.
template <typename Body>
Napi::Value Guarded(const Napi::CallbackInfo& info, Body body) {
  try {
    return body();
  } catch (const Napi::Error&) {
    throw;
  } catch (...) {
    const auto error = EnvState::Of(info.Env())->ToError(info.Env(), std::current_exception());
    napi_throw(info.Env(), error);
    return info.Env().Undefined();
  }
}

}  // namespace torchvid
