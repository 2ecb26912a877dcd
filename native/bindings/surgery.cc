#include "bindings/surgery.h"

#include "bindings/convert.h"
#include "bindings/env_state.h"
#include "bindings/network.h"
#include "core/error.h"
#include "core/surgery/prune.h"

namespace torchvid {

namespace {

PruneSettings SettingsFrom(const Napi::Value& value) {
  const auto object = ObjectFrom(value, "settings");
  PruneSettings settings;
  const auto strategy = TextFrom(object.Get("strategy"), "strategy");
  settings.strategy = strategy == "group" ? PruneStrategy::kGroup : PruneStrategy::kSelect;
  settings.score = TextFrom(object.Get("score"), "score") == "variance" ? PruneSettings::Score::kVariance
                                                                        : PruneSettings::Score::kScale;
  settings.ratio = NumberFrom(object.Get("ratio"), "ratio");
  const auto target = ObjectFrom(object.Get("target"), "target");
  if (target.Has("macs")) settings.target_macs = IntegerFrom(target.Get("macs"), "target.macs");
  if (target.Has("parameters"))
    settings.target_parameters = IntegerFrom(target.Get("parameters"), "target.parameters");
  settings.fold = object.Get("fold").ToBoolean().Value();
  settings.floor.channels = IntegerFrom(object.Get("keepAtLeast"), "keepAtLeast");
  settings.floor.share = NumberFrom(object.Get("keepShare"), "keepShare");
  settings.round_to = IntegerFrom(object.Get("roundTo"), "roundTo");
  settings.shapes = ShapesFrom(object.Get("shapes"));
  return settings;
}

template <typename Number>
Napi::Object ListsTo(Napi::Env env, const std::map<std::string, std::vector<Number>>& lists) {
  auto object = Napi::Object::New(env);
  for (const auto& [name, numbers] : lists) {
    auto array = Napi::Array::New(env, numbers.size());
    for (uint32_t i = 0; i < numbers.size(); ++i) array.Set(i, static_cast<double>(numbers[i]));
    object.Set(name, array);
  }
  return object;
}

Napi::Object ResultTo(Napi::Env env, const PruneResult& result) {
  auto object = Napi::Object::New(env);
  object.Set("network", NetworkWrap::Wrap(env, result.network));
  object.Set("nodes", NodesTo(env, result.network->graph()));
  auto outputs = Napi::Object::New(env);
  for (const auto& [output, node] : result.network->graph().outputs) outputs.Set(output, node);
  object.Set("outputs", outputs);
  object.Set("ratio", result.ratio);
  object.Set("threshold", result.threshold);
  object.Set("kept", ListsTo(env, result.kept));
  object.Set("channels", ListsTo(env, result.channels));
  object.Set("gammas", ListsTo(env, result.gammas));
  object.Set("before", SummaryTo(env, result.before));
  object.Set("after", SummaryTo(env, result.after));
  auto warnings = Napi::Array::New(env, result.warnings.size());
  for (uint32_t i = 0; i < result.warnings.size(); ++i) warnings.Set(i, result.warnings[i]);
  object.Set("warnings", warnings);
  return object;
}

/// prune(network, settings)
Napi::Value PruneNetwork(const Napi::CallbackInfo& info) {
  return Guarded(info, [&]() -> Napi::Value {
    const auto network = NetworkWrap::NetworkOf(info[0]);
    const auto settings = SettingsFrom(info[1]);
    return EnvState::Of(info.Env())->Promise(info.Env(), [=]() -> ToJs {
      auto result = Prune(*network, settings);
      return [result = std::move(result)](Napi::Env env) { return ResultTo(env, result); };
    });
  });
}

}  // namespace

void RegisterSurgery(Napi::Env env, Napi::Object exports) {
  exports.Set("prune", Napi::Function::New(env, PruneNetwork, "prune"));
}

}  // namespace torchvid
