#include "bindings/prompts.h"

#include <memory>
#include <utility>
#include <vector>

#include "bindings/convert.h"
#include "bindings/env_state.h"
#include "core/error.h"
#include "core/image/max_flow.h"
#include "core/image/prompt_mask.h"

namespace torchvid {

namespace {

/// Ids are bytes, and 255 is no object.
constexpr uint32_t kMostBoxes = 254;

/// What a user pointed at: boxes, or marks when there are none.
struct Prompt {
  std::vector<PixelBox> boxes;
  std::vector<uint8_t> marks;
  uint64_t seed = 0;
};

PixelBox BoxFrom(const Napi::Value& value, ImageSize picture) {
  const auto object = ObjectFrom(value, "box");
  const auto number = [&](const char* key) {
    return IntegerFrom(object.Get(key), std::string("box.") + key);
  };
  const PixelBox box{number("x"), number("y"), number("width"), number("height")};
  const bool fits = box.left >= 0 && box.top >= 0 && box.width >= 1 && box.height >= 1 &&
                    box.left < picture.width && box.width <= picture.width - box.left &&
                    box.top < picture.height && box.height <= picture.height - box.top;
  if (!fits) throw InvalidArgument("box: it does not lie in the picture.");
  return box;
}

Prompt PromptFrom(const Napi::Value& value, ImageSize picture) {
  const auto object = ObjectFrom(value, "prompt");
  Prompt prompt;
  prompt.seed = static_cast<uint64_t>(IntegerFrom(object.Get("seed"), "seed"));
  if (object.Get("boxes").IsUndefined()) {
    auto marks = MaskFrom(object.Get("marks"), "marks");
    if (marks.width != picture.width || marks.height != picture.height) {
      throw ShapeError("marks: wanted as many pixels as the picture has.");
    }
    prompt.marks = std::move(marks.data);
    return prompt;
  }
  const auto boxes = ArrayFrom(object.Get("boxes"), "boxes");
  if (boxes.Length() < 1 || boxes.Length() > kMostBoxes) throw InvalidArgument("boxes: wanted 1 to 254.");
  for (uint32_t i = 0; i < boxes.Length(); ++i) prompt.boxes.push_back(BoxFrom(boxes.Get(i), picture));
  return prompt;
}

Napi::Object MaskTo(Napi::Env env, const PromptMask& mask) {
  auto object = Napi::Object::New(env);
  auto data = Napi::Uint8Array::New(env, mask.data.size());
  std::copy(mask.data.begin(), mask.data.end(), data.Data());
  object.Set("data", data);
  auto unclear = Napi::Array::New(env, mask.unclear.size());
  for (uint32_t i = 0; i < mask.unclear.size(); ++i) {
    unclear.Set(i, Napi::Number::New(env, static_cast<double>(mask.unclear[i])));
  }
  object.Set("unclear", unclear);
  return object;
}

/// maskFromPrompt(image, { boxes, seed } or { marks, seed })
Napi::Value MaskFromPrompt(const Napi::CallbackInfo& info) {
  return Guarded(info, [&]() -> Napi::Value {
    const auto image = ImageFrom(info[0], "image");
    const ImageSize size{image.size(1), image.size(0)};
    return EnvState::Of(info.Env())
        ->Promise(info.Env(), [image, size, prompt = PromptFrom(info[1], size)]() -> ToJs {
          const RgbPicture picture{image.const_data_ptr<uint8_t>(), size};
          const auto mask = std::make_shared<PromptMask>(
              prompt.boxes.empty() ? MaskFromScribble(picture, prompt.marks, prompt.seed)
                                   : MaskFromBoxes(picture, prompt.boxes, prompt.seed));
          return [mask](Napi::Env env) { return MaskTo(env, *mask); };
        });
  });
}

/// minimumCut({ nodes, terminals: [node, fromSource, toSink]..., edges: [a, b, forward, backward]... })
Napi::Value MinimumCut(const Napi::CallbackInfo& info) {
  return Guarded(info, [&]() -> Napi::Value {
    const Napi::Env env = info.Env();
    const auto graph = ObjectFrom(info[0], "graph");
    const auto nodes = IntegerFrom(graph.Get("nodes"), "nodes");
    if (nodes < 1 || nodes > 1'000'000) throw InvalidArgument("nodes: wanted 1 to 1000000.");
    const auto terminals = ArrayFrom(graph.Get("terminals"), "terminals");
    const auto edges = ArrayFrom(graph.Get("edges"), "edges");
    const auto node = [&](const Napi::Value& value) {
      const auto number = IntegerFrom(value, "node");
      if (number < 0 || number >= nodes) throw InvalidArgument("node: there is no such node.");
      return static_cast<int32_t>(number);
    };
    const auto capacity = [&](const Napi::Value& value) {
      const auto number = NumberFrom(value, "capacity");
      if (!(number >= 0)) throw InvalidArgument("capacity: wanted at least 0.");
      return number;
    };
    MaxFlow flow(static_cast<int32_t>(nodes), static_cast<int32_t>(edges.Length()));
    for (uint32_t i = 0; i < terminals.Length(); ++i) {
      const auto row = ArrayFrom(terminals.Get(i), "terminals");
      flow.AddTerminal(node(row.Get(0U)), capacity(row.Get(1U)), capacity(row.Get(2U)));
    }
    for (uint32_t i = 0; i < edges.Length(); ++i) {
      const auto row = ArrayFrom(edges.Get(i), "edges");
      flow.AddEdge(node(row.Get(0U)), node(row.Get(1U)), capacity(row.Get(2U)), capacity(row.Get(3U)));
    }
    auto result = Napi::Object::New(env);
    result.Set("flow", Napi::Number::New(env, flow.Solve()));
    auto side = Napi::Uint8Array::New(env, static_cast<size_t>(nodes));
    for (int32_t i = 0; i < nodes; ++i) side.Data()[i] = flow.WithSource(i) ? 1 : 0;
    result.Set("withSource", side);
    return result;
  });
}

}  // namespace

void RegisterPrompts(Napi::Env env, Napi::Object exports) {
  exports.Set("maskFromPrompt", Napi::Function::New(env, MaskFromPrompt, "maskFromPrompt"));
  exports.Set("minimumCut", Napi::Function::New(env, MinimumCut, "minimumCut"));
}

}  // namespace torchvid
