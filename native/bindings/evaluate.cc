#include "bindings/evaluate.h"

#include "bindings/convert.h"
#include "bindings/env_state.h"
#include "bindings/network.h"
#include "bindings/train_settings.h"
#include "core/train/evaluator.h"

namespace torchvid {

namespace {

/// Evaluates a classifier: one batch per step.
class EvaluateJob : public Job {
 public:
  EvaluateJob(std::shared_ptr<EnvState> state, Napi::Promise::Deferred deferred,
              std::function<std::unique_ptr<Evaluator>()> make)
      : state_(std::move(state)), deferred_(deferred), make_(std::move(make)) {}

  bool Step() override {
    if (evaluator_) {
      evaluator_->Step();
    } else {
      evaluator_ = make_();
      make_ = nullptr;
    }
    return !evaluator_->done();
  }

  void Finish(std::exception_ptr error) override {
    const auto result = evaluator_ ? evaluator_->result() : Evaluation{};
    make_ = nullptr;
    evaluator_.reset();
    state_->Post([state = state_, deferred = deferred_, result, error](Napi::Env env) {
      state->Settled();
      if (error) {
        deferred.Reject(state->ToError(env, error));
        return;
      }
      auto object = Napi::Object::New(env);
      object.Set("correct", static_cast<double>(result.correct));
      object.Set("images", static_cast<double>(result.images));
      object.Set("loss", result.loss);
      deferred.Resolve(object);
    });
  }

 private:
  std::shared_ptr<EnvState> state_;
  Napi::Promise::Deferred deferred_;
  std::function<std::unique_ptr<Evaluator>()> make_;
  std::unique_ptr<Evaluator> evaluator_;
};

/// evaluate(network, source, output) => { promise, abort() }
Napi::Value Evaluate(const Napi::CallbackInfo& info) {
  return Guarded(info, [&]() -> Napi::Value {
    const auto env = info.Env();
    const auto network = NetworkWrap::NetworkOf(info[0]);
    auto [set, settings] = ImageSourceFrom(ObjectFrom(info[1], "source"));
    const auto make = [network, set = std::move(set), settings = std::move(settings),
                       output = TextFrom(info[2], "output")] {
      auto source = std::make_unique<ImageSource>(set, settings, network->device());
      return std::make_unique<Evaluator>(network, std::move(source), output);
    };
    const auto deferred = Napi::Promise::Deferred::New(env);
    const auto& state = EnvState::Of(env);
    return state->Start(env, std::make_shared<EvaluateJob>(state, deferred, make), deferred);
  });
}

}  // namespace

void RegisterEvaluate(Napi::Env env, Napi::Object exports) {
  exports.Set("evaluate", Napi::Function::New(env, Evaluate, "evaluate"));
}

}  // namespace torchvid
