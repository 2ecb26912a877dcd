#include "bindings/train_settings.h"

#include "bindings/convert.h"
#include "bindings/network.h"
#include "core/error.h"

namespace torchvid {

namespace {

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

std::optional<CropFlip> CropFlipFrom(const Napi::Value& value) {
  if (value.IsNull()) return std::nullopt;
  const auto object = ObjectFrom(value, "augment");
  return CropFlip{IntegerFrom(object.Get("pad"), "augment.pad"),
                  NumberFrom(object.Get("flip"), "augment.flip")};
}

std::vector<double> NumbersFrom(const Napi::Value& value, const std::string& what) {
  const auto array = ArrayFrom(value, what);
  std::vector<double> numbers;
  for (uint32_t i = 0; i < array.Length(); ++i) numbers.push_back(NumberFrom(array.Get(i), what));
  return numbers;
}

OutputWeights OutputWeightsFrom(const Napi::Value& value, const std::string& what) {
  const auto outputs = ObjectFrom(value, what);
  const auto names = outputs.GetPropertyNames();
  OutputWeights weights;
  for (uint32_t i = 0; i < names.Length(); ++i) {
    const auto name = names.Get(i).ToString().Utf8Value();
    weights.emplace_back(name, NumberFrom(outputs.Get(name), what));
  }
  return weights;
}

std::function<std::unique_ptr<Source>(at::Device)> OneShotFrom(const Napi::Object& source, uint64_t) {
  const auto image = ImageFrom(source.Get("image"), "image");
  const auto given = MaskFrom(source.Get("mask"), "mask");
  const auto mask = at::tensor(given.data, at::kByte).view({given.height, given.width});
  const auto format = PixelFormatFrom(source.Get("pixels"));
  const auto max_size = IntegerFrom(source.Get("maxSize"), "maxSize");
  const auto augment = AugmentFrom(source.Get("augment"));
  return [=](at::Device device) {
    return std::make_unique<OneShotSource>(image, mask, format, max_size, augment, device);
  };
}

std::function<std::unique_ptr<Source>(at::Device)> ImagesFrom(const Napi::Object& source, uint64_t seed) {
  auto [set, settings] = ImageSourceFrom(source);
  settings.seed = seed;
  return [set = std::move(set), settings = std::move(settings)](at::Device device) {
    return std::make_unique<ImageSource>(set, settings, device);
  };
}

std::function<std::unique_ptr<Source>(at::Device)> SourceFrom(const Napi::Value& value, uint64_t seed) {
  const auto source = ObjectFrom(value, "source");
  const auto kind = TextFrom(source.Get("kind"), "source.kind");
  if (kind == "oneShot") return OneShotFrom(source, seed);
  if (kind == "images") return ImagesFrom(source, seed);
  throw InvalidArgument("source.kind: wanted 'oneShot' or 'images'.");
}

std::function<std::unique_ptr<Objective>()> ObjectiveFrom(const Napi::Value& value) {
  const auto objective = ObjectFrom(value, "objective");
  const auto kind = TextFrom(objective.Get("kind"), "objective.kind");
  if (kind == "crossEntropy") {
    return [output = TextFrom(objective.Get("output"), "objective.output")] {
      return std::make_unique<CrossEntropyObjective>(output);
    };
  }
  const auto outputs = OutputWeightsFrom(objective.Get("outputs"), "objective.outputs");
  if (outputs.empty()) throw InvalidArgument("objective.outputs: wanted at least one.");
  if (kind == "classBalanced") {
    const auto reduction =
        TextFrom(objective.Get("reduction"), "reduction") == "mean" ? Reduction::kMean : Reduction::kSum;
    return [=] { return std::make_unique<ClassBalancedObjective>(outputs, reduction); };
  }
  if (kind == "imitate") {
    const auto teacher = NetworkWrap::NetworkOf(objective.Get("teacher"));
    return [=] { return std::make_unique<ImitateObjective>(teacher, outputs); };
  }
  throw InvalidArgument("objective.kind: wanted 'classBalanced', 'crossEntropy' or 'imitate'.");
}

void ScheduleFrom(const Napi::Value& value, TrainerSettings* settings) {
  const auto schedule = ObjectFrom(value, "schedule");
  const auto kind = TextFrom(schedule.Get("kind"), "schedule.kind");
  if (kind == "constant") return;
  if (kind == "cosine") {
    settings->schedule = TrainerSettings::Schedule::kCosine;
    return;
  }
  if (kind != "steps") throw InvalidArgument("schedule.kind: wanted 'constant', 'cosine' or 'steps'.");
  settings->schedule = TrainerSettings::Schedule::kSteps;
  const auto milestones = ArrayFrom(schedule.Get("milestones"), "schedule.milestones");
  for (uint32_t i = 0; i < milestones.Length(); ++i)
    settings->milestones.push_back(IntegerFrom(milestones.Get(i), "schedule.milestones"));
  settings->factor = NumberFrom(schedule.Get("factor"), "schedule.factor");
}

void PenaltyFrom(const Napi::Object& object, TrainerSettings* settings) {
  if (object.Get("sparsity").IsObject()) {
    const auto sparsity = object.Get("sparsity").As<Napi::Object>();
    settings->sparse = TextsFrom(sparsity.Get("parameters"), "sparsity.parameters");
    settings->sparsity = NumberFrom(sparsity.Get("strength"), "sparsity.strength");
  }
  if (!object.Get("held").IsArray()) return;
  const auto held = object.Get("held").As<Napi::Array>();
  for (uint32_t i = 0; i < held.Length(); ++i) {
    const auto row = ObjectFrom(held.Get(i), "held");
    const auto name = TextFrom(row.Get("name"), "held.name");
    const auto keep = TensorFrom(row.Get("keep"), "held '" + name + "'");
    if (keep.dim() != 1) throw ShapeError("held '" + name + "': wanted one dimension.");
    settings->held.push_back({name, keep.ne(0)});
  }
}

std::optional<Checkpoint> CheckpointFrom(const Napi::Value& value) {
  if (!value.IsObject()) return std::nullopt;
  const auto checkpoint = value.As<Napi::Object>();
  return Checkpoint{TextFrom(checkpoint.Get("path"), "checkpoint.path"),
                    IntegerFrom(checkpoint.Get("every"), "checkpoint.every"),
                    TextMapFrom(checkpoint.Get("metadata"), "checkpoint.metadata")};
}

std::optional<Resume> ResumeFrom(const Napi::Value& value) {
  if (!value.IsObject()) return std::nullopt;
  const auto object = value.As<Napi::Object>();
  Resume resume{
      TextFrom(object.Get("path"), "resume.path"), {}, IntegerFrom(object.Get("step"), "resume.step")};
  const auto tensors = ArrayFrom(object.Get("tensors"), "resume.tensors");
  for (uint32_t i = 0; i < tensors.Length(); ++i) {
    const auto row = ObjectFrom(tensors.Get(i), "resume.tensors");
    resume.tensors.emplace_back(TextFrom(row.Get("name"), "name"), RowFrom(row));
  }
  return resume;
}

}  // namespace

std::pair<ImageSet, ImageSourceSettings> ImageSourceFrom(const Napi::Object& source) {
  ImageSet set;
  set.images = TensorFrom(source.Get("images"), "images");
  set.labels = TensorFrom(source.Get("labels"), "labels").to(at::kLong);
  set.mean = NumbersFrom(source.Get("mean"), "mean");
  set.std = NumbersFrom(source.Get("std"), "std");
  const auto channels = set.images.dim() == 4 ? static_cast<size_t>(set.images.size(1)) : 0;
  if (set.images.scalar_type() != at::kByte || channels == 0 || set.images.numel() == 0) {
    throw ShapeError("images: wanted bytes (N, C, H, W), got shape " + ShapeText(set.images.sizes()) + ".");
  }
  if (set.labels.dim() != 1 || set.labels.size(0) != set.images.size(0))
    throw ShapeError("labels: wanted one per image.");
  if (set.mean.size() != channels || set.std.size() != channels)
    throw ShapeError("mean, std: wanted one number per channel.");
  ImageSourceSettings settings;
  settings.batch_size = IntegerFrom(source.Get("batchSize"), "batchSize");
  if (settings.batch_size < 1) throw InvalidArgument("batchSize: wanted at least 1.");
  settings.shuffle = source.Get("shuffle").ToBoolean().Value();
  settings.augment = CropFlipFrom(source.Get("augment"));
  settings.input = TextFrom(source.Get("input"), "input");
  settings.flat = source.Get("flat").ToBoolean().Value();
  return {std::move(set), std::move(settings)};
}

TrainRequest TrainRequestFrom(const Napi::Value& network, const Napi::Value& value) {
  const auto object = ObjectFrom(value, "settings");
  TrainRequest request;
  request.parent = NetworkWrap::NetworkOf(network);
  auto& trainer = request.trainer;
  trainer.passes = IntegerFrom(object.Get("passes"), "passes");
  trainer.accumulate = IntegerFrom(object.Get("accumulate"), "accumulate");
  ScheduleFrom(object.Get("schedule"), &trainer);
  trainer.bfloat16 = object.Get("bfloat16").ToBoolean().Value();
  trainer.seed = static_cast<uint64_t>(IntegerFrom(object.Get("seed"), "seed"));
  const auto device = DeviceFrom(object.Get("device"));
  if (device.type() != request.parent->device().type()) {
    throw InvalidArgument("device: the network is on " + request.parent->device().str() +
                          "; create or open it on " + device.str() + ".");
  }
  trainer.optimizer = OptimizerFrom(object.Get("optimizer"));
  PenaltyFrom(object, &trainer);
  request.make_source = SourceFrom(object.Get("source"), trainer.seed);
  request.make_objective = ObjectiveFrom(object.Get("objective"));
  request.checkpoint = CheckpointFrom(object.Get("checkpoint"));
  request.resume = ResumeFrom(object.Get("resume"));
  return request;
}

}  // namespace torchvid
