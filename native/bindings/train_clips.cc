#include "bindings/train_clips.h"

#include <string>
#include <vector>

#include "bindings/convert.h"
#include "core/error.h"
#include "core/train/clips.h"

namespace torchvid {

namespace {

template <size_t kCount>
std::array<double, kCount> NumbersFrom(const Napi::Value& value, const std::string& what) {
  const auto array = ArrayFrom(value, what);
  if (array.Length() != kCount)
    throw InvalidArgument(what + ": wanted " + std::to_string(kCount) + " numbers.");
  std::array<double, kCount> numbers{};
  for (uint32_t i = 0; i < kCount; ++i) numbers[i] = NumberFrom(array.Get(i), what);
  return numbers;
}

ClipFrame FrameFrom(const Napi::Value& value, const std::string& what) {
  const auto object = ObjectFrom(value, what);
  ClipFrame frame;
  frame.rgb = ImageFrom(object.Get("image"), what + ".image");
  frame.mask = MaskTensorFrom(object.Get("mask"), what + ".mask");
  frame.place = NumbersFrom<6>(object.Get("place"), what + ".place");
  frame.gain = NumbersFrom<3>(object.Get("gain"), what + ".gain");
  frame.offset = NumberFrom(object.Get("offset"), what + ".offset");
  return frame;
}

std::vector<ClipFrame> FramesFrom(const Napi::Value& value, const std::string& what) {
  const auto array = ArrayFrom(value, what);
  std::vector<ClipFrame> frames;
  for (uint32_t i = 0; i < array.Length(); ++i)
    frames.push_back(FrameFrom(array.Get(i), what + "[" + std::to_string(i) + "]"));
  return frames;
}

ClipMixture::Role RoleFrom(const Napi::Value& value) {
  const auto role = TextFrom(value, "mixture.role");
  if (role == "front") return ClipMixture::Role::kFront;
  if (role == "behind") return ClipMixture::Role::kBehind;
  if (role == "background") return ClipMixture::Role::kBackground;
  throw InvalidArgument("mixture.role: wanted 'front', 'behind' or 'background'.");
}

MaskDamage DamageFrom(const Napi::Value& value) {
  const auto object = ObjectFrom(value, "damage");
  MaskDamage damage;
  damage.place = NumbersFrom<6>(object.Get("place"), "damage.place");
  damage.grow = IntegerFrom(object.Get("grow"), "damage.grow");
  if (object.Get("patch").IsObject()) {
    const auto patch = object.Get("patch").As<Napi::Object>();
    damage.patch = MaskDamage::Patch{NumbersFrom<4>(patch.Get("box"), "damage.patch.box"),
                                     NumberFrom(patch.Get("value"), "damage.patch.value")};
  }
  return damage;
}

Clip ClipFrom(const Napi::Value& value, const std::string& what) {
  const auto object = ObjectFrom(value, what);
  Clip clip;
  clip.frames = FramesFrom(object.Get("frames"), what + ".frames");
  if (clip.frames.size() < 3) throw InvalidArgument(what + ".frames: wanted at least 3.");
  if (object.Get("mixture").IsObject()) {
    const auto mixture = object.Get("mixture").As<Napi::Object>();
    clip.mixture =
        ClipMixture{RoleFrom(mixture.Get("role")), FramesFrom(mixture.Get("frames"), what + ".mixture")};
    if (clip.mixture->frames.size() != clip.frames.size())
      throw InvalidArgument(what + ".mixture: wanted as many frames as the clip has.");
  }
  if (object.Get("damage").IsObject()) clip.damage = DamageFrom(object.Get("damage"));
  return clip;
}

}  // namespace

MakeBatch ClipsFrom(const Napi::Object& sample, const PixelFormat& format) {
  const auto array = ArrayFrom(sample.Get("clips"), "sample.clips");
  if (array.Length() == 0) throw InvalidArgument("sample.clips: wanted at least one.");
  std::vector<Clip> clips;
  for (uint32_t i = 0; i < array.Length(); ++i)
    clips.push_back(ClipFrom(array.Get(i), "sample.clips[" + std::to_string(i) + "]"));
  for (const auto& clip : clips) {
    if (clip.frames.size() != clips[0].frames.size())
      throw InvalidArgument("sample.clips: wanted as many frames in each.");
  }
  const auto side = [&](const char* key) {
    const auto pixels = IntegerFrom(sample.Get(key), std::string("sample.") + key);
    if (pixels < 16 || pixels % 16 != 0)
      throw InvalidArgument(std::string("sample.") + key + ": wanted a multiple of 16.");
    return pixels;
  };
  const ClipsSettings settings{{side("height"), side("width")}, format};
  return [clips = std::move(clips), settings](const at::Generator&, at::Device device) {
    return MakeClips(clips, settings, device);
  };
}

}  // namespace torchvid
