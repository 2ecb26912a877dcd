#include "bindings/train_settings.h"

#include "bindings/convert.h"
#include "bindings/network.h"
#include "core/error.h"
#include "core/metrics/ranking.h"
#include "core/train/anomaly_measure.h"
#include "core/train/bag_source.h"
#include "core/train/propagation_objective.h"

namespace torchvid {

namespace {

OptimizerSettings OptimizerFrom(const Napi::Value& value) {
  const auto object = ObjectFrom(value, "optimizer");
  OptimizerSettings settings;
  const auto kind = TextFrom(object.Get("kind"), "optimizer.kind");
  const std::map<std::string, OptimizerSettings::Kind> kinds{{"sgd", OptimizerSettings::Kind::kSgd},
                                                             {"adam", OptimizerSettings::Kind::kAdam},
                                                             {"adamw", OptimizerSettings::Kind::kAdamW},
                                                             {"adagrad", OptimizerSettings::Kind::kAdagrad}};
  if (kinds.count(kind) == 0)
    throw InvalidArgument("optimizer.kind: wanted 'sgd', 'adam', 'adamw' or 'adagrad'.");
  settings.kind = kinds.at(kind);
  if (object.Has("momentum")) settings.momentum = NumberFrom(object.Get("momentum"), "optimizer.momentum");
  if (!object.Get("clip").IsUndefined()) settings.clip = NumberFrom(object.Get("clip"), "optimizer.clip");
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
  const auto mask = MaskTensorFrom(source.Get("mask"), "mask");
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

Resampling ResamplingFrom(const Napi::Value& value) {
  const auto kind = TextFrom(value, "resampling");
  if (kind == "linspace") return Resampling::kLinspace;
  if (kind == "sultani") return Resampling::kSultani;
  throw InvalidArgument("resampling: wanted 'linspace' or 'sultani'.");
}

std::vector<VideoFeatures> VideosFrom(const Napi::Value& value, const std::string& what) {
  const auto array = ArrayFrom(value, what);
  std::vector<VideoFeatures> videos;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const auto video = ObjectFrom(array.Get(i), what);
    videos.push_back(VideoFeaturesFrom(video.Get("features"), TextFrom(video.Get("name"), what)));
  }
  return videos;
}

std::function<std::unique_ptr<Source>(at::Device)> BagsFrom(const Napi::Object& source, uint64_t seed) {
  BagSourceSettings settings;
  settings.normal = VideosFrom(source.Get("normal"), "normal");
  settings.abnormal = VideosFrom(source.Get("abnormal"), "abnormal");
  settings.batch_size = IntegerFrom(source.Get("batchSize"), "batchSize");
  settings.paired = source.Get("paired").ToBoolean().Value();
  settings.shuffle = source.Get("shuffle").ToBoolean().Value();
  settings.segments = IntegerFrom(source.Get("segments"), "segments");
  settings.resampling = ResamplingFrom(source.Get("resampling"));
  settings.normalise = source.Get("normalise").ToBoolean().Value();
  settings.seed = seed;
  return [settings = std::move(settings)](at::Device device) {
    return std::make_unique<BagSource>(settings, device);
  };
}

void SourceFrom(const Napi::Value& value, TrainRequest* request) {
  const auto source = ObjectFrom(value, "source");
  const auto kind = TextFrom(source.Get("kind"), "source.kind");
  const auto seed = request->trainer.seed;
  if (kind == "oneShot") {
    request->make_source = OneShotFrom(source, seed);
  } else if (kind == "images") {
    request->make_source = ImagesFrom(source, seed);
  } else if (kind == "bags") {
    request->make_source = BagsFrom(source, seed);
  } else if (kind == "feed") {
    request->feed = FeedFrom(source);
    request->make_source = [feed = request->feed.feed](at::Device device) {
      return std::make_unique<FeedSource>(feed, device);
    };
  } else {
    throw InvalidArgument("source.kind: wanted 'oneShot', 'images', 'bags' or 'feed'.");
  }
}

Fading FadingFrom(const Napi::Value& value) {
  if (!value.IsObject()) return {};
  const auto fading = value.As<Napi::Object>();
  Fading settings{TextsFrom(fading.Get("outputs"), "fading.outputs"),
                  IntegerFrom(fading.Get("every"), "fading.every"),
                  IntegerFrom(fading.Get("periods"), "fading.periods")};
  if (settings.every < 1 || settings.periods < 1)
    throw InvalidArgument("fading: wanted at least 1 for every and periods.");
  return settings;
}

std::function<std::unique_ptr<Objective>(const Network&)> ObjectiveFrom(const Napi::Value& value) {
  const auto objective = ObjectFrom(value, "objective");
  const auto kind = TextFrom(objective.Get("kind"), "objective.kind");
  if (kind == "crossEntropy") {
    return [output = TextFrom(objective.Get("output"), "objective.output")](const Network&) {
      return std::make_unique<CrossEntropyObjective>(output);
    };
  }
  if (kind == "rtfm")
    return [settings = RtfmLossFrom(objective)](const Network&) {
      return std::make_unique<RtfmObjective>(settings);
    };
  if (kind == "milRanking")
    return [settings = MilRankingFrom(objective)](const Network&) {
      return std::make_unique<MilRankingObjective>(settings);
    };
  if (kind == "propagation") {
    return [encoder = GraphFrom(objective.Get("encoder")),
            decoder = GraphFrom(objective.Get("decoder"))](const Network& network) {
      return std::make_unique<PropagationObjective>(network, encoder, decoder);
    };
  }
  const auto outputs = OutputWeightsFrom(objective.Get("outputs"), "objective.outputs");
  if (outputs.empty()) throw InvalidArgument("objective.outputs: wanted at least one.");
  if (kind == "classBalanced") {
    const auto reduction =
        TextFrom(objective.Get("reduction"), "reduction") == "mean" ? Reduction::kMean : Reduction::kSum;
    const auto fading = FadingFrom(objective.Get("fading"));
    return
        [=](const Network&) { return std::make_unique<ClassBalancedObjective>(outputs, reduction, fading); };
  }
  if (kind == "imitate") {
    const auto teacher = NetworkWrap::NetworkOf(objective.Get("teacher"));
    return [=](const Network&) { return std::make_unique<ImitateObjective>(teacher, outputs); };
  }
  throw InvalidArgument(
      "objective.kind: wanted 'classBalanced', 'crossEntropy', 'imitate', 'rtfm', 'milRanking' or "
      "'propagation'.");
}

void ScheduleFrom(const Napi::Value& value, TrainerSettings* settings) {
  const auto schedule = ObjectFrom(value, "schedule");
  const auto kind = TextFrom(schedule.Get("kind"), "schedule.kind");
  if (!schedule.Get("warmup").IsUndefined())
    settings->warmup = IntegerFrom(schedule.Get("warmup"), "schedule.warmup");
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
                    TextMapFrom(checkpoint.Get("metadata"), "checkpoint.metadata"),
                    checkpoint.Get("best").IsString() ? checkpoint.Get("best").ToString().Utf8Value() : "",
                    checkpoint.Get("bestSoFar").IsUndefined()
                        ? nullptr
                        : NetworkWrap::NetworkOf(checkpoint.Get("bestSoFar"))};
}

void ValidationFrom(const Napi::Value& value, TrainRequest* request) {
  if (!value.IsObject()) return;
  const auto validation = value.As<Napi::Object>();
  request->selection = {IntegerFrom(validation.Get("every"), "validation.every"),
                        IntegerFrom(validation.Get("after"), "validation.after")};
  if (request->selection.every < 1) throw InvalidArgument("validation.every: wanted at least 1.");
  AnomalyMeasureSettings settings;
  const auto videos = ArrayFrom(validation.Get("videos"), "validation.videos");
  for (uint32_t i = 0; i < videos.Length(); ++i) {
    const auto video = ObjectFrom(videos.Get(i), "validation.videos");
    settings.videos.push_back(
        {VideoFeaturesFrom(video.Get("features"), TextFrom(video.Get("name"), "validation.videos")),
         TensorFrom(video.Get("labels"), "labels")});
  }
  if (settings.videos.empty()) throw InvalidArgument("validation.videos: wanted at least one.");
  const std::map<std::string, decltype(settings.metric)> metrics{
      {"rocAuc", RocAuc}, {"prAuc", PrAuc}, {"averagePrecision", AveragePrecision}};
  const auto metric = metrics.find(TextFrom(validation.Get("metric"), "validation.metric"));
  if (metric == metrics.end())
    throw InvalidArgument("validation.metric: wanted 'rocAuc', 'prAuc' or 'averagePrecision'.");
  settings.metric = metric->second;
  settings.frames_per_segment =
      IntegerFrom(validation.Get("framesPerSegment"), "validation.framesPerSegment");
  settings.top = IntegerFrom(validation.Get("top"), "validation.top");
  settings.normalise = validation.Get("normalise").ToBoolean().Value();
  request->make_measure = [settings = std::move(settings)] {
    return std::make_unique<AnomalyMeasure>(settings);
  };
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

VideoFeatures VideoFeaturesFrom(const Napi::Value& value, const std::string& name) {
  const auto object = ObjectFrom(value, name);
  VideoFeatures video;
  video.name = name;
  if (!object.Get("files").IsArray()) {
    video.tensor = TensorFrom(object.Get("tensor"), name).to(at::kFloat);
    return video;
  }
  const auto files = object.Get("files").As<Napi::Array>();
  for (uint32_t i = 0; i < files.Length(); ++i) {
    const auto file = ObjectFrom(files.Get(i), name);
    video.files.emplace_back(TextFrom(file.Get("path"), name), RowFrom(file.Get("tensor")));
  }
  return video;
}

RtfmLossSettings RtfmLossFrom(const Napi::Object& object) {
  const auto number = [&](const char* key) { return NumberFrom(object.Get(key), key); };
  RtfmLossSettings settings;
  settings.paper = object.Get("paper").ToBoolean().Value();
  settings.top = IntegerFrom(object.Get("top"), "top");
  settings.dropout = number("dropout");
  settings.margin = number("margin");
  settings.magnitude = number("magnitude");
  settings.smoothness = number("smoothness");
  settings.sparsity = number("sparsity");
  return settings;
}

MilRankingSettings MilRankingFrom(const Napi::Object& object) {
  return {NumberFrom(object.Get("smoothness"), "smoothness"), NumberFrom(object.Get("sparsity"), "sparsity")};
}

TrainRequest TrainRequestFrom(const Napi::Value& network, const Napi::Value& value) {
  const auto object = ObjectFrom(value, "settings");
  TrainRequest request;
  request.parent = NetworkWrap::NetworkOf(network);
  auto& trainer = request.trainer;
  trainer.passes = IntegerFrom(object.Get("passes"), "passes");
  if (!object.Get("until").IsUndefined()) trainer.until = IntegerFrom(object.Get("until"), "until");
  trainer.accumulate = IntegerFrom(object.Get("accumulate"), "accumulate");
  ScheduleFrom(object.Get("schedule"), &trainer);
  trainer.bfloat16 = object.Get("bfloat16").ToBoolean().Value();
  trainer.seed = static_cast<uint64_t>(IntegerFrom(object.Get("seed"), "seed"));
  CheckDevice(object.Get("device"), request.parent->device());
  trainer.optimizer = OptimizerFrom(object.Get("optimizer"));
  PenaltyFrom(object, &trainer);
  SourceFrom(object.Get("source"), &request);
  request.make_objective = ObjectiveFrom(object.Get("objective"));
  ValidationFrom(object.Get("validation"), &request);
  request.checkpoint = CheckpointFrom(object.Get("checkpoint"));
  request.resume = ResumeFrom(object.Get("resume"));
  return request;
}

}  // namespace torchvid
