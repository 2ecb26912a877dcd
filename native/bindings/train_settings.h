#pragma once

#include <napi.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bindings/train_feed.h"
#include "core/train/anomaly_losses.h"
#include "core/train/image_source.h"
#include "core/train/selection.h"
#include "core/train/trainer.h"
#include "core/train/video_features.h"
#include "core/weights/tensor_file.h"

namespace torchvid {

/// Where and how often a training saves itself.
struct Checkpoint {
  std::string path;
  int64_t every = 0;
  std::map<std::string, std::string> metadata;
  /// Where the best state goes, if anywhere: written anew whenever it is bettered.
  std::string best;
  /// A network to save along with the state, as the best state so far; null: none.
  std::shared_ptr<Network> best_so_far;
};

/// A saved training to go on from.
struct Resume {
  std::string path;
  std::vector<std::pair<std::string, TensorRow>> tensors;
  int64_t step = 0;
};

/// What train() was asked for, in C++ terms. The makers run on the engine thread.
struct TrainRequest {
  std::shared_ptr<Network> parent;
  TrainerSettings trainer;
  std::function<std::unique_ptr<Source>(at::Device)> make_source;
  /// Gets the network in training.
  std::function<std::unique_ptr<Objective>(const Network&)> make_objective;
  /// Of a source that JavaScript feeds; else empty.
  FeedRequest feed;
  /// Empty: nothing is measured.
  std::function<std::unique_ptr<Measure>()> make_measure;
  SelectionSettings selection;
  std::optional<Checkpoint> checkpoint;
  std::optional<Resume> resume;
};

/// From NativeTraining (lib/native.ts). Throws ERR_INVALID_ARGUMENT or ERR_SHAPE naming the setting.
TrainRequest TrainRequestFrom(const Napi::Value& network, const Napi::Value& settings);

/// The images and settings of a source of kind 'images'.
std::pair<ImageSet, ImageSourceSettings> ImageSourceFrom(const Napi::Object& source);

/// From NativeAugment, or null.
std::optional<Augment> AugmentFrom(const Napi::Value& value);

/// From NativeFeatures.
VideoFeatures VideoFeaturesFrom(const Napi::Value& value, const std::string& name);

/// From NativeRtfmLoss, NativeMilRanking.
RtfmLossSettings RtfmLossFrom(const Napi::Object& settings);
MilRankingSettings MilRankingFrom(const Napi::Object& settings);

}  // namespace torchvid
