#include "bindings/train_feed.h"

#include <string>
#include <vector>

#include "bindings/convert.h"
#include "bindings/train_clips.h"
#include "bindings/train_settings.h"
#include "core/error.h"
#include "core/train/stills.h"

namespace torchvid {

namespace {

/// Larger pictures are a slip.
constexpr int64_t kMaximumSide = 65535;
/// So is asking for more samples than this before they are needed.
constexpr int64_t kMaximumAhead = 1024;

int64_t Between(const Napi::Value& value, const std::string& what, int64_t least, int64_t most) {
  const auto number = IntegerFrom(value, what);
  if (number >= least && number <= most) return number;
  throw InvalidArgument(what + ": got " + std::to_string(number) + ", wanted " + std::to_string(least) +
                        " to " + std::to_string(most) + ".");
}

/// What all samples of a feed have in common.
struct SampleSettings {
  PixelFormat format;
  std::optional<Augment> augment;
};

/// From NativeStills.
MakeBatch StillsFrom(const Napi::Object& sample, const SampleSettings& common) {
  const auto images = ArrayFrom(sample.Get("images"), "sample.images");
  if (images.Length() == 0) throw InvalidArgument("sample.images: wanted at least one.");
  std::vector<Still> stills;
  for (uint32_t i = 0; i < images.Length(); ++i) {
    const auto name = "sample.images[" + std::to_string(i) + "]";
    const auto still = ObjectFrom(images.Get(i), name);
    stills.push_back(
        {ImageFrom(still.Get("image"), name + ".image"), MaskTensorFrom(still.Get("mask"), name + ".mask")});
  }
  const auto side = [&](const char* key) {
    return Between(sample.Get(key), std::string("sample.") + key, 1, kMaximumSide);
  };
  const StillsSettings settings{{side("height"), side("width")}, common.format, common.augment};
  return [stills = std::move(stills), settings](const at::Generator& generator, at::Device device) {
    return MakeStills(stills, settings, generator, device);
  };
}

MakeBatch SampleFrom(const Napi::Value& value, const SampleSettings& common) {
  const auto sample = ObjectFrom(value, "sample");
  const auto kind = TextFrom(sample.Get("kind"), "sample.kind");
  if (kind == "stills") return StillsFrom(sample, common);
  if (kind == "clips") return ClipsFrom(sample, common.format);
  throw InvalidArgument("sample.kind: wanted 'stills' or 'clips'.");
}

}  // namespace

FeedRequest FeedFrom(const Napi::Object& source) {
  const auto ahead = Between(source.Get("ahead"), "source.ahead", 0, kMaximumAhead);
  const SampleSettings common{PixelFormatFrom(source.Get("pixels")), AugmentFrom(source.Get("augment"))};
  return {std::make_shared<Feed>(ahead),
          [common](const Napi::Value& sample) { return SampleFrom(sample, common); }};
}

}  // namespace torchvid
