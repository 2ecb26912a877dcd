#include "bindings/convert.h"
#include "core/error.h"

namespace torchvid {

ShapeMap ShapesFrom(const Napi::Value& value) {
  const auto given = ObjectFrom(value, "shapes");
  const auto names = given.GetPropertyNames();
  ShapeMap shapes;
  for (uint32_t i = 0; i < names.Length(); ++i) {
    const auto name = names.Get(i).ToString().Utf8Value();
    const auto what = "shape of '" + name + "'";
    const auto sizes = ArrayFrom(given.Get(name), what);
    for (uint32_t d = 0; d < sizes.Length(); ++d) {
      shapes[name].push_back(IntegerFrom(sizes.Get(d), what));
      if (shapes[name].back() < 1) throw ShapeError(what + ": sizes are at least 1.");
    }
  }
  return shapes;
}

Napi::Array SummaryTo(Napi::Env env, const std::vector<LayerSummary>& summary) {
  auto rows = Napi::Array::New(env, summary.size());
  for (uint32_t i = 0; i < summary.size(); ++i) {
    auto row = Napi::Object::New(env);
    row.Set("name", summary[i].name);
    row.Set("op", summary[i].op);
    row.Set("shape", ShapeTo(env, summary[i].output_shape));
    row.Set("parameters", static_cast<double>(summary[i].parameters));
    row.Set("macs", static_cast<double>(summary[i].macs));
    row.Set("activationBytes", static_cast<double>(summary[i].activation_bytes));
    rows.Set(i, row);
  }
  return rows;
}

namespace {

Napi::Value AttributeTo(Napi::Env env, const Attribute& attribute) {
  if (const auto* flag = std::get_if<bool>(&attribute)) return Napi::Boolean::New(env, *flag);
  if (const auto* number = std::get_if<double>(&attribute)) return Napi::Number::New(env, *number);
  if (const auto* text = std::get_if<std::string>(&attribute)) return Napi::String::New(env, *text);
  return ShapeTo(env, std::get<std::vector<int64_t>>(attribute));
}

Napi::Object NodeTo(Napi::Env env, const Node& node) {
  auto row = Napi::Object::New(env);
  row.Set("op", node.op);
  row.Set("name", node.name);
  auto inputs = Napi::Array::New(env, node.inputs.size());
  for (uint32_t i = 0; i < node.inputs.size(); ++i) inputs.Set(i, node.inputs[i]);
  row.Set("inputs", inputs);
  if (!node.attributes.empty()) {
    auto attributes = Napi::Object::New(env);
    for (const auto& [key, attribute] : node.attributes) attributes.Set(key, AttributeTo(env, attribute));
    row.Set("attributes", attributes);
  }
  if (!node.init.empty()) {
    auto init = Napi::Object::New(env);
    for (const auto& [parameter, start] : node.init) {
      auto one = Napi::Object::New(env);
      one.Set("distribution", start.distribution);
      if (start.value != 0) one.Set("value", start.value);
      init.Set(parameter, one);
    }
    row.Set("init", init);
  }
  if (node.frozen) row.Set("frozen", true);
  return row;
}

}  // namespace

Napi::Array NodesTo(Napi::Env env, const Graph& graph) {
  auto rows = Napi::Array::New(env, graph.nodes.size());
  for (uint32_t i = 0; i < graph.nodes.size(); ++i) rows.Set(i, NodeTo(env, graph.nodes[i]));
  return rows;
}

}  // namespace torchvid
