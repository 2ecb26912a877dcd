#include "bindings/env_state.h"

#include <c10/core/GradMode.h>

#include <new>

#include "core/device/device.h"
#include "core/memory/caching_allocator.h"
#include "core/torch_error.h"

namespace torchvid {

namespace {

void RunPosted(napi_env env, napi_value, void*, void* data) {
  const std::unique_ptr<OnJs> work(static_cast<OnJs*>(data));
  if (env == nullptr) return;  // closing: dropped
  Napi::HandleScope scope(env);
  try {
    (*work)(env);
  } catch (const Napi::Error& error) {
    napi_fatal_exception(env, error.Value());
  }
}

/// One step whose result becomes a promise's value.
class PromiseJob : public Job {
 public:
  PromiseJob(std::shared_ptr<EnvState> state, Napi::Promise::Deferred deferred, std::function<ToJs()> work)
      : state_(std::move(state)), deferred_(deferred), work_(std::move(work)) {}

  bool Step() override {
    c10::NoGradGuard no_grad;
    result_ = work_();
    return false;
  }

  void Finish(std::exception_ptr error) override {
    work_ = nullptr;
    state_->Post([state = state_, deferred = deferred_, result = std::move(result_), error](Napi::Env env) {
      state->Settled();
      if (error) {
        deferred.Reject(state->ToError(env, error));
        return;
      }
      try {
        deferred.Resolve(result(env));
      } catch (const Napi::Error& failure) {
        deferred.Reject(failure.Value());
      } catch (...) {
        deferred.Reject(state->ToError(env, std::current_exception()));
      }
    });
  }

 private:
  std::shared_ptr<EnvState> state_;
  Napi::Promise::Deferred deferred_;
  std::function<ToJs()> work_;
  ToJs result_;
};

}  // namespace

void EnvState::Install(Napi::Env env) {
  InstallCachingAllocator();
  auto state = std::make_shared<EnvState>();
  state->env_ = env;
  state->engine_ = Engine::Get();
  const auto name = Napi::String::New(env, "torchvid");
  napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, nullptr, RunPosted,
                                  &state->queue_);
  napi_unref_threadsafe_function(env, state->queue_);
  env.SetInstanceData(new std::shared_ptr<EnvState>(state));
  // Added after the queue's own hook, so it runs before: the engine must be done with us first.
  env.AddCleanupHook([state] { state->Close(); });
}

std::shared_ptr<EnvState> EnvState::Of(Napi::Env env) {
  return *env.GetInstanceData<std::shared_ptr<EnvState>>();
}

void EnvState::CancelAll() {
  if (engine_) engine_->CancelOwned(this);
}

void EnvState::Close() {
  CancelAll();
  engine_.reset();
  napi_release_threadsafe_function(queue_, napi_tsfn_abort);
  queue_ = nullptr;
  error_factory.Reset();
  device_warning.Reset();
  network_constructor.Reset();
}

void EnvState::Post(OnJs work) {
  auto* data = new OnJs(std::move(work));
  if (napi_call_threadsafe_function(queue_, data, napi_tsfn_nonblocking) != napi_ok) delete data;
}

void EnvState::Submit(std::shared_ptr<Job> job) {
  if (!engine_) throw Error("ERR_DISPOSED", "This Node environment is closing.");
  job->owner = this;
  if (active_++ == 0) napi_ref_threadsafe_function(env_, queue_);
  engine_->Submit(std::move(job));
}

void EnvState::Settled() {
  if (--active_ == 0 && queue_ != nullptr) napi_unref_threadsafe_function(env_, queue_);
}

Napi::Object EnvState::Start(Napi::Env env, const std::shared_ptr<Job>& job,
                             const Napi::Promise::Deferred& deferred) {
  Submit(job);
  auto handle = Napi::Object::New(env);
  handle.Set("promise", deferred.Promise());
  handle.Set("abort", Napi::Function::New(env, [weak = std::weak_ptr<Job>(job)](const Napi::CallbackInfo&) {
               if (const auto running = weak.lock()) running->Cancel();
             }));
  return handle;
}

Napi::Promise EnvState::Promise(Napi::Env env, std::function<ToJs()> work) {
  const auto deferred = Napi::Promise::Deferred::New(env);
  Submit(std::make_shared<PromiseJob>(shared_from_this(), deferred, std::move(work)));
  return deferred.Promise();
}

void EnvState::WarnOfDevice(Napi::Env env) {
  if (device_warning.IsEmpty()) return;
  if (const auto reason = TakeDeviceWarning()) device_warning.Call({Napi::String::New(env, *reason)});
}

Napi::Value EnvState::ToError(Napi::Env env, const std::exception_ptr& error) {
  std::string code = "ERR_INVALID_ARGUMENT";
  std::string message;
  try {
    std::rethrow_exception(error);
  } catch (const Napi::Error& thrown) {
    return thrown.Value();
  } catch (const Error& thrown) {
    code = thrown.code();
    message = thrown.what();
  } catch (const Cancelled&) {
    code = "ABORTED";  // the caller's own reason takes its place (lib/engine/run.ts)
    message = "aborted";
  } catch (const c10::Error& thrown) {
    const auto known = FromTorch(thrown, "LibTorch", code);
    code = known.code();
    message = known.what();
  } catch (const std::bad_alloc&) {
    code = "ERR_OUT_OF_MEMORY";
    message = "The host is out of memory. Use a smaller batch or image, or free other networks.";
  } catch (const std::exception& thrown) {
    message = thrown.what();
  }
  return error_factory.Call({Napi::String::New(env, code), Napi::String::New(env, message)});
}

}  // namespace torchvid
