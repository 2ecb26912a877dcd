#include "bindings/train.h"

#include <c10/util/Exception.h>

#include <chrono>
#include <iterator>
#include <mutex>

#include "bindings/convert.h"
#include "bindings/env_state.h"
#include "bindings/network.h"
#include "bindings/train_settings.h"
#include "core/error.h"

namespace torchvid {

namespace {

using Clock = std::chrono::steady_clock;

/// At most 20 crossings a second.
constexpr auto kCrossingInterval = std::chrono::milliseconds(50);

/// Of the tensors of the best state so far in a checkpoint, as Selection has it.
const std::string kBestPrefix = "torchvid.best.";

std::unique_ptr<Trainer> MakeTrainer(const TrainRequest& request) {
  request.parent->CheckNotDisposed();
  auto network = request.parent->Clone();
  auto source = request.make_source(network->device());
  auto trainer = std::make_unique<Trainer>(network, std::move(source), request.make_objective(*network),
                                           request.trainer);
  return trainer;
}

std::unique_ptr<Selection> MakeSelection(const TrainRequest& request,
                                         const std::shared_ptr<Network>& network) {
  if (!request.make_measure) return nullptr;
  return std::make_unique<Selection>(request.make_measure(), request.selection, network);
}

TensorMap StateOf(const Resume& resume) {
  TensorMap state;
  for (const auto& [name, row] : resume.tensors) state[name] = ReadTensor(resume.path, row);
  return state;
}

Napi::Object RecordTo(Napi::Env env, const StepRecord& record) {
  auto object = Napi::Object::New(env);
  object.Set("step", static_cast<double>(record.step));
  object.Set("loss", record.loss);
  auto losses = Napi::Object::New(env);
  for (const auto& [name, value] : record.losses) losses.Set(name, value);
  object.Set("losses", losses);
  if (record.accuracy) object.Set("accuracy", *record.accuracy);
  if (record.validation) object.Set("validation", *record.validation);
  object.Set("learningRate", record.learning_rate);
  object.Set("seconds", record.seconds);
  return object;
}

/// process.emitWarning(message, { code })
void Warn(Napi::Env env, const std::string& message) {
  const auto process = env.Global().Get("process").As<Napi::Object>();
  auto options = Napi::Object::New(env);
  options.Set("code", "TORCHVID_CUDA");
  process.Get("emitWarning").As<Napi::Function>().Call(process, {Napi::String::New(env, message), options});
}

/// What a training calls in JavaScript. Touched on the JavaScript thread alone, and let go of there.
struct Callbacks {
  Napi::FunctionReference on_records;
  Napi::FunctionReference on_wanted;
  /// What `fail` was given, in an array of one.
  Napi::ObjectReference failure;
  bool over = false;

  void Reset() {
    over = true;
    on_records.Reset();
    on_wanted.Reset();
    failure.Reset();
  }
};

/// A training: one pass per step, and one for each piece of a measurement; records cross to JavaScript in
/// batches. Where JavaScript feeds it, a step without a sample is a short wait.
class TrainJob : public Job, public std::enable_shared_from_this<TrainJob> {
 public:
  TrainJob(std::shared_ptr<EnvState> state, Napi::Promise::Deferred deferred,
           std::shared_ptr<Callbacks> callbacks, TrainRequest request)
      : state_(std::move(state)),
        deferred_(deferred),
        callbacks_(std::move(callbacks)),
        feed_(request.feed),
        request_(std::move(request)) {
    if (!feed_.feed) return;
    feed_.feed->SetListener([this](int64_t first, int64_t last) {
      state_->Post([self = shared_from_this(), first, last](Napi::Env env) { self->Ask(env, first, last); });
    });
  }

  /// JavaScript thread.
  void Supply(const Napi::Value& pass, const Napi::Value& sample) {
    CheckFed();
    feed_.feed->Supply(IntegerFrom(pass, "pass"), feed_.read(sample));
  }

  /// JavaScript thread.
  void Fail(const Napi::Value& error) {
    CheckFed();
    if (callbacks_->over || !callbacks_->failure.IsEmpty()) return;
    auto held = Napi::Array::New(error.Env(), 1);
    held.Set(0u, error);
    callbacks_->failure = Napi::Persistent(held.As<Napi::Object>());
    feed_.feed->Fail(std::make_exception_ptr(InvalidArgument("A sample could not be made.")));
  }

  bool Step() override {
    if (!trainer_) {
      Begin();
      return !Over();
    }
    if (trainer_->Prepare()) return true;
    if (!stepped_ && !Pass()) {
      HandOver();
      return true;
    }
    if (!MeasureIfDue()) return true;
    SaveCheckpoint();
    stepped_ = false;
    HandOver();
    return !Over();
  }

  void Finish(std::exception_ptr error) override {
    auto network = !error && trainer_ ? trainer_->network() : nullptr;
    selection_.reset();
    trainer_.reset();
    request_ = {};
    if (feed_.feed) feed_.feed->Close();
    state_->Post([self = shared_from_this(), network, error](Napi::Env env) {
      self->Deliver(env);
      self->state_->Settled();
      if (error) {
        self->deferred_.Reject(self->Reason(env, error));
      } else {
        self->deferred_.Resolve(NetworkWrap::Wrap(env, network));
      }
      self->callbacks_->Reset();
    });
  }

 private:
  void CheckFed() const {
    if (!feed_.feed) throw InvalidArgument("This training is not fed: its source is of another kind.");
  }

  /// JavaScript thread: asks for the samples of passes [first, last). A failure there is one of the samples.
  void Ask(Napi::Env env, int64_t first, int64_t last) {
    try {
      for (auto pass = first; pass < last && !cancelled() && !callbacks_->on_wanted.IsEmpty(); ++pass)
        callbacks_->on_wanted.Call({Napi::Number::New(env, static_cast<double>(pass))});
    } catch (const Napi::Error& error) {
      Fail(error.Value());
    }
  }

  /// What the training rejects with: what `fail` was given, if that was it.
  Napi::Value Reason(Napi::Env env, const std::exception_ptr& error) {
    if (callbacks_->failure.IsEmpty() || cancelled()) return state_->ToError(env, error);
    return callbacks_->failure.Get(0u);
  }

  /// One pass, if its batch is there, and the records that have come by then. Whatever goes wrong, a loss
  /// that became no number before is what is told.
  bool Pass() {
    try {
      if (trainer_->Ready()) {
        trainer_->Step();
        stepped_ = true;
      }
      trainer_->Collect(stepped_ && KeepsSomething(), &records_);
      return stepped_;
    } catch (const Cancelled&) {
      throw;
    } catch (...) {
      CollectTheRest();
      throw;
    }
  }

  /// The records of passes whose step failed; throws ERR_NOT_FINITE if one of them has the cause.
  void CollectTheRest() {
    try {
      trainer_->Collect(true, &records_);
    } catch (const Error&) {
      HandOver();
      throw;
    } catch (const c10::Error&) {  // the device is beyond answering: the first failure says why
    }
    HandOver();
  }

  /// Whether what the pass left behind is measured, saved or handed out: then no record may be missing.
  bool KeepsSomething() const { return trainer_->done() || MeasureDue() || CheckpointDue(); }

  bool MeasureDue() const { return selection_ && selection_->Due(trainer_->step(), trainer_->complete()); }

  bool CheckpointDue() const {
    if (!request_.checkpoint) return false;
    const bool stops = trainer_->done() && !trainer_->complete();
    return stops || trainer_->step() % request_.checkpoint->every == 0;
  }

  /// Lets the records collected go to JavaScript, when it is time, and a warning.
  void HandOver() {
    if (auto warning = trainer_->TakeWarning()) {
      state_->Post([message = std::move(*warning)](Napi::Env env) { Warn(env, message); });
    }
    if (records_.empty()) return;
    {
      std::lock_guard lock(mutex_);
      std::move(records_.begin(), records_.end(), std::back_inserter(pending_));
    }
    records_.clear();
    CrossIfDue();
  }

  void Begin() {
    trainer_ = MakeTrainer(request_);
    selection_ = MakeSelection(request_, trainer_->network());
    if (!request_.resume) return;
    const auto state = StateOf(*request_.resume);
    trainer_->Restore(state, request_.resume->step);
    if (selection_) selection_->Restore(state);
  }

  /// Whether all passes are done; at the end of the whole run the network is what it was at its best. A run
  /// may be resumed at its end.
  bool Over() {
    if (!trainer_->done()) return false;
    if (selection_ && trainer_->complete()) selection_->TakeBest();
    return true;
  }

  /// Measures after the pass just done, if that is due: false while more remains of it.
  bool MeasureIfDue() {
    if (!MeasureDue()) return true;
    records_.back().validation = selection_->Step(trainer_->step());
    if (!records_.back().validation) return false;
    if (selection_->best_step() == trainer_->step()) SaveBest();
    return true;
  }

  void SaveBest() {
    if (!request_.checkpoint || request_.checkpoint->best.empty()) return;
    std::vector<std::pair<std::string, at::Tensor>> tensors;
    for (const auto& entry : trainer_->network()->entries())
      tensors.emplace_back(entry.name, entry.tensor.detach());
    WriteSafetensors(request_.checkpoint->best, request_.checkpoint->metadata, tensors);
  }

  void SaveCheckpoint() {
    if (!CheckpointDue()) return;
    auto metadata = request_.checkpoint->metadata;
    metadata["torchvid.step"] = std::to_string(trainer_->step());
    auto state = trainer_->State();
    if (selection_) {
      for (auto& row : selection_->State()) state.push_back(std::move(row));
    }
    if (const auto& best = request_.checkpoint->best_so_far) {
      for (const auto& entry : best->entries()) state.emplace_back(kBestPrefix + entry.name, entry.tensor);
    }
    WriteSafetensors(request_.checkpoint->path, metadata, state);
  }

  void CrossIfDue() {
    const auto now = Clock::now();
    if (now - last_crossing_ < kCrossingInterval) return;
    last_crossing_ = now;
    state_->Post([self = shared_from_this()](Napi::Env env) { self->Deliver(env); });
  }

  /// JavaScript thread: hands over the records that piled up.
  void Deliver(Napi::Env env) {
    std::vector<StepRecord> records;
    {
      std::lock_guard lock(mutex_);
      records.swap(pending_);
    }
    if (records.empty()) return;
    auto array = Napi::Array::New(env, records.size());
    for (uint32_t i = 0; i < records.size(); ++i) array.Set(i, RecordTo(env, records[i]));
    callbacks_->on_records.Call({array});
  }

  std::shared_ptr<EnvState> state_;
  Napi::Promise::Deferred deferred_;
  std::shared_ptr<Callbacks> callbacks_;
  FeedRequest feed_;
  TrainRequest request_;
  std::unique_ptr<Trainer> trainer_;
  std::unique_ptr<Selection> selection_;
  bool stepped_ = false;  // a pass is done whose measurement is under way
  std::vector<StepRecord> records_;
  std::mutex mutex_;
  std::vector<StepRecord> pending_;
  Clock::time_point last_crossing_{};
};

/// train(network, settings, onRecords, onWanted?) => { promise, abort(), supply(pass, sample), fail(error) }
Napi::Value Train(const Napi::CallbackInfo& info) {
  return Guarded(info, [&]() -> Napi::Value {
    const auto env = info.Env();
    auto request = TrainRequestFrom(info[0], info[1]);
    if (!info[2].IsFunction()) throw InvalidArgument("onRecords: wanted a function.");
    auto callbacks = std::make_shared<Callbacks>();
    callbacks->on_records = Napi::Persistent(info[2].As<Napi::Function>());
    if (request.feed.feed) {
      if (!info[3].IsFunction()) throw InvalidArgument("onWanted: wanted a function.");
      callbacks->on_wanted = Napi::Persistent(info[3].As<Napi::Function>());
    }
    const auto deferred = Napi::Promise::Deferred::New(env);
    const auto job = std::make_shared<TrainJob>(EnvState::Of(env), deferred, callbacks, std::move(request));
    auto handle = EnvState::Of(env)->Start(env, job, deferred);
    // Once the job is over and gone, neither has an effect.
    handle.Set("supply",
               Napi::Function::New(env, [weak = std::weak_ptr(job)](const Napi::CallbackInfo& call) {
                 Guarded(call, [&]() -> Napi::Value {
                   if (const auto running = weak.lock()) running->Supply(call[0], call[1]);
                   return call.Env().Undefined();
                 });
               }));
    handle.Set("fail", Napi::Function::New(env, [weak = std::weak_ptr(job)](const Napi::CallbackInfo& call) {
                 Guarded(call, [&]() -> Napi::Value {
                   if (const auto running = weak.lock()) running->Fail(call[0]);
                   return call.Env().Undefined();
                 });
               }));
    return handle;
  });
}

}  // namespace

void RegisterTrain(Napi::Env env, Napi::Object exports) {
  exports.Set("train", Napi::Function::New(env, Train, "train"));
}

}  // namespace torchvid
