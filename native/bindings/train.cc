#include "bindings/train.h"

#include <chrono>
#include <mutex>

#include "bindings/convert.h"
#include "bindings/env_state.h"
#include "bindings/network.h"
#include "core/error.h"
#include "core/train/trainer.h"

namespace torchvid {

namespace {

using Clock = std::chrono::steady_clock;

/// At most 20 crossings a second.
constexpr auto kCrossingInterval = std::chrono::milliseconds(50);

struct Checkpoint {
  std::string path;
  int64_t every = 0;
  std::map<std::string, std::string> metadata;
};

struct Resume {
  std::string path;
  std::vector<std::pair<std::string, TensorRow>> tensors;
  int64_t step = 0;
};

/// What train() was asked for, in C++ terms.
struct TrainRequest {
  std::shared_ptr<Network> parent;
  TrainerSettings trainer;
  at::Tensor image;
  at::Tensor mask;
  PixelFormat format;
  int64_t max_size = 0;
  std::optional<Augment> augment;
  std::vector<std::pair<std::string, double>> outputs;
  Reduction reduction = Reduction::kSum;
  std::optional<Checkpoint> checkpoint;
  std::optional<Resume> resume;
};

std::unique_ptr<Trainer> MakeTrainer(const TrainRequest& request) {
  request.parent->CheckNotDisposed();
  auto network = request.parent->Clone();
  auto source = std::make_unique<OneShotSource>(request.image, request.mask, request.format, request.max_size,
                                                request.augment, network->device());
  auto objective = std::make_unique<ClassBalancedObjective>(request.outputs, request.reduction);
  auto trainer = std::make_unique<Trainer>(network, std::move(source), std::move(objective), request.trainer);
  if (request.resume) {
    TensorMap state;
    for (const auto& [name, row] : request.resume->tensors)
      state[name] = ReadTensor(request.resume->path, row);
    trainer->Restore(state, request.resume->step);
  }
  return trainer;
}

Napi::Object RecordTo(Napi::Env env, const StepRecord& record) {
  auto object = Napi::Object::New(env);
  object.Set("step", static_cast<double>(record.step));
  object.Set("loss", record.loss);
  auto losses = Napi::Object::New(env);
  for (const auto& [name, value] : record.losses) losses.Set(name, value);
  object.Set("losses", losses);
  object.Set("learningRate", record.learning_rate);
  object.Set("seconds", record.seconds);
  return object;
}

/// A training: one pass per step; records cross to JavaScript in batches.
class TrainJob : public Job, public std::enable_shared_from_this<TrainJob> {
 public:
  TrainJob(std::shared_ptr<EnvState> state, Napi::Promise::Deferred deferred,
           std::shared_ptr<Napi::FunctionReference> on_records, TrainRequest request)
      : state_(std::move(state)),
        deferred_(deferred),
        on_records_(std::move(on_records)),
        request_(std::move(request)) {}

  bool Step() override {
    if (!trainer_) {
      trainer_ = MakeTrainer(request_);
      return !trainer_->done();
    }
    auto record = trainer_->Step();
    SaveCheckpoint();
    {
      std::lock_guard lock(mutex_);
      pending_.push_back(std::move(record));
    }
    CrossIfDue();
    return !trainer_->done();
  }

  void Finish(std::exception_ptr error) override {
    auto network = !error && trainer_ ? trainer_->network() : nullptr;
    trainer_.reset();
    request_ = {};
    state_->Post([self = shared_from_this(), network, error](Napi::Env env) {
      self->Deliver(env);
      self->state_->Settled();
      self->on_records_->Reset();
      if (error) {
        self->deferred_.Reject(self->state_->ToError(env, error));
      } else {
        self->deferred_.Resolve(NetworkWrap::Wrap(env, network));
      }
    });
  }

 private:
  void SaveCheckpoint() {
    if (!request_.checkpoint || trainer_->step() % request_.checkpoint->every != 0) return;
    auto metadata = request_.checkpoint->metadata;
    metadata["torchvid.step"] = std::to_string(trainer_->step());
    WriteSafetensors(request_.checkpoint->path, metadata, trainer_->State());
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
    on_records_->Call({array});
  }

  std::shared_ptr<EnvState> state_;
  Napi::Promise::Deferred deferred_;
  std::shared_ptr<Napi::FunctionReference> on_records_;  // touched on the JavaScript thread alone
  TrainRequest request_;
  std::unique_ptr<Trainer> trainer_;
  std::mutex mutex_;
  std::vector<StepRecord> pending_;
  Clock::time_point last_crossing_{};
};

OptimizerSettings OptimizerFrom(const Napi::Value& value) {
  const auto object = ObjectFrom(value, "optimizer");
  OptimizerSettings settings;
  const auto kind = TextFrom(object.Get("kind"), "optimizer.kind");
  if (kind != "sgd" && kind != "adam") throw InvalidArgument("optimizer.kind: wanted 'sgd' or 'adam'.");
  settings.kind = kind == "adam" ? OptimizerSettings::Kind::kAdam : OptimizerSettings::Kind::kSgd;
  if (object.Has("momentum")) settings.momentum = NumberFrom(object.Get("momentum"), "optimizer.momentum");
  settings.nesterov = object.Get("nesterov").ToBoolean().Value();
  const auto groups = ArrayFrom(object.Get("groups"), "optimizer.groups");
  for (uint32_t i = 0; i < groups.Length(); ++i) {
    const auto group = ObjectFrom(groups.Get(i), "optimizer.groups");
    settings.groups.push_back({TextFrom(group.Get("pattern"), "pattern"),
                               NumberFrom(group.Get("learningRate"), "learningRate"),
                               NumberFrom(group.Get("weightDecay"), "weightDecay")});
  }
  return settings;
}

std::optional<Augment> AugmentFrom(const Napi::Value& value) {
  if (value.IsNull()) return std::nullopt;
  const auto object = ObjectFrom(value, "augment");
  Augment augment;
  augment.flip = NumberFrom(object.Get("flip"), "augment.flip");
  augment.rotation = NumberFrom(object.Get("rotation"), "augment.rotation");
  const auto scale = ArrayFrom(object.Get("scale"), "augment.scale");
  augment.scale = {NumberFrom(scale.Get(0u), "augment.scale"), NumberFrom(scale.Get(1u), "augment.scale")};
  return augment;
}

TrainRequest RequestFrom(const Napi::Value& network, const Napi::Value& value) {
  const auto object = ObjectFrom(value, "settings");
  TrainRequest request;
  request.parent = NetworkWrap::NetworkOf(network);
  request.trainer.passes = IntegerFrom(object.Get("passes"), "passes");
  request.trainer.accumulate = IntegerFrom(object.Get("accumulate"), "accumulate");
  request.trainer.schedule = TextFrom(object.Get("schedule"), "schedule") == "cosine"
                                 ? TrainerSettings::Schedule::kCosine
                                 : TrainerSettings::Schedule::kConstant;
  request.trainer.bfloat16 = object.Get("bfloat16").ToBoolean().Value();
  request.trainer.seed = static_cast<uint64_t>(IntegerFrom(object.Get("seed"), "seed"));
  const auto device = DeviceFrom(object.Get("device"));
  if (device.type() != request.parent->device().type()) {
    throw InvalidArgument("device: the network is on " + request.parent->device().str() +
                          "; create or open it on " + device.str() + ".");
  }
  request.trainer.optimizer = OptimizerFrom(object.Get("optimizer"));

  const auto source = ObjectFrom(object.Get("source"), "source");
  request.image = ImageFrom(source.Get("image"), "image");
  const auto mask = MaskFrom(source.Get("mask"), "mask");
  request.mask = at::tensor(mask.data, at::kByte).view({mask.height, mask.width});
  request.format = PixelFormatFrom(source.Get("pixels"));
  request.max_size = IntegerFrom(source.Get("maxSize"), "maxSize");
  request.augment = AugmentFrom(source.Get("augment"));

  const auto objective = ObjectFrom(object.Get("objective"), "objective");
  const auto outputs = ObjectFrom(objective.Get("outputs"), "objective.outputs");
  const auto names = outputs.GetPropertyNames();
  for (uint32_t i = 0; i < names.Length(); ++i) {
    const auto name = names.Get(i).ToString().Utf8Value();
    request.outputs.emplace_back(name, NumberFrom(outputs.Get(name), "objective.outputs"));
  }
  request.reduction =
      TextFrom(objective.Get("reduction"), "reduction") == "mean" ? Reduction::kMean : Reduction::kSum;

  if (object.Get("checkpoint").IsObject()) {
    const auto checkpoint = object.Get("checkpoint").As<Napi::Object>();
    request.checkpoint = {TextFrom(checkpoint.Get("path"), "checkpoint.path"),
                          IntegerFrom(checkpoint.Get("every"), "checkpoint.every"),
                          TextMapFrom(checkpoint.Get("metadata"), "checkpoint.metadata")};
  }
  if (object.Get("resume").IsObject()) {
    const auto resume = object.Get("resume").As<Napi::Object>();
    Resume state{
        TextFrom(resume.Get("path"), "resume.path"), {}, IntegerFrom(resume.Get("step"), "resume.step")};
    const auto tensors = ArrayFrom(resume.Get("tensors"), "resume.tensors");
    for (uint32_t i = 0; i < tensors.Length(); ++i) {
      const auto row = ObjectFrom(tensors.Get(i), "resume.tensors");
      state.tensors.emplace_back(TextFrom(row.Get("name"), "name"), RowFrom(row));
    }
    request.resume = std::move(state);
  }
  return request;
}

/// train(network, settings, onRecords) => { promise, abort() }
Napi::Value Train(const Napi::CallbackInfo& info) {
  return Guarded(info, [&]() -> Napi::Value {
    const auto env = info.Env();
    auto request = RequestFrom(info[0], info[1]);
    if (!info[2].IsFunction()) throw InvalidArgument("onRecords: wanted a function.");
    auto on_records =
        std::make_shared<Napi::FunctionReference>(Napi::Persistent(info[2].As<Napi::Function>()));
    const auto state = EnvState::Of(env);
    const auto deferred = Napi::Promise::Deferred::New(env);
    const auto job = std::make_shared<TrainJob>(state, deferred, on_records, std::move(request));
    state->Submit(job);
    auto handle = Napi::Object::New(env);
    handle.Set("promise", deferred.Promise());
    handle.Set("abort",
               Napi::Function::New(env, [weak = std::weak_ptr<TrainJob>(job)](const Napi::CallbackInfo&) {
                 if (const auto running = weak.lock()) running->Cancel();
               }));
    return handle;
  });
}

}  // namespace

void RegisterTrain(Napi::Env env, Napi::Object exports) {
  exports.Set("train", Napi::Function::New(env, Train, "train"));
}

}  // namespace torchvid
