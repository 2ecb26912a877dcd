#include "bindings/losses.h"

#include <ATen/CPUGeneratorImpl.h>
#include <c10/core/GradMode.h>

#include "bindings/convert.h"
#include "bindings/env_state.h"
#include "bindings/train_settings.h"
#include "core/error.h"

namespace torchvid {

namespace {

/// classBalancedCrossEntropy(logits, labels, reduction)
Napi::Value ClassBalanced(const Napi::CallbackInfo& info) {
  return Guarded(info, [&]() -> Napi::Value {
    const auto logits = TensorFrom(info[0], "logits").to(at::kFloat);
    const auto labels = TensorFrom(info[1], "labels").to(at::kFloat);
    const auto reduction = TextFrom(info[2], "reduction") == "mean" ? Reduction::kMean : Reduction::kSum;
    if (logits.sizes() != labels.sizes() || logits.numel() == 0) {
      throw ShapeError("logits have shape " + ShapeText(logits.sizes()) + " and labels " +
                       ShapeText(labels.sizes()) + "; both must be the same and not empty.");
    }
    return EnvState::Of(info.Env())->Promise(info.Env(), [=]() -> ToJs {
      c10::AutoGradMode gradients(true);
      const auto x = logits.detach().set_requires_grad(true);
      const auto loss = ClassBalancedCrossEntropy(x, labels, reduction);
      loss.backward();
      const auto value = loss.item<double>();
      const auto gradient = x.grad();
      return [=](Napi::Env env) {
        auto object = Napi::Object::New(env);
        object.Set("loss", value);
        object.Set("gradient", TensorTo(env, gradient));
        return object;
      };
    });
  });
}

using Parts = std::vector<std::pair<std::string, double>>;

/// The parts of a loss, read.
Parts PartsOf(const Loss& loss) {
  Parts parts;
  for (const auto& [name, part] : loss.parts) parts.emplace_back(name, part.item<double>());
  return parts;
}

/// { loss, parts, gradient: { abnormal, normal } }
Napi::Object LossTo(Napi::Env env, double total, const Parts& parts, const Napi::Value& by_abnormal,
                    const Napi::Value& by_normal) {
  auto object = Napi::Object::New(env);
  object.Set("loss", total);
  auto named = Napi::Object::New(env);
  for (const auto& [name, value] : parts) named.Set(name, value);
  object.Set("parts", named);
  auto gradient = Napi::Object::New(env);
  gradient.Set("abnormal", by_abnormal);
  gradient.Set("normal", by_normal);
  object.Set("gradient", gradient);
  return object;
}

/// Scores (videos, segments), ready to take a gradient.
at::Tensor ScoresFrom(const Napi::Value& value, const std::string& what) {
  const auto scores = TensorFrom(value, what).to(at::kFloat);
  if (scores.dim() != 2 || scores.numel() == 0) {
    throw ShapeError(what + ": got shape " + ShapeText(scores.sizes()) +
                     ", wanted (videos, segments) with at least one of each.");
  }
  return scores;
}

/// milRanking(abnormal, normal, { smoothness, sparsity })
Napi::Value MilRanking(const Napi::CallbackInfo& info) {
  return Guarded(info, [&]() -> Napi::Value {
    const auto abnormal = ScoresFrom(info[0], "abnormal");
    const auto normal = ScoresFrom(info[1], "normal");
    const auto settings = MilRankingFrom(ObjectFrom(info[2], "options"));
    return EnvState::Of(info.Env())->Promise(info.Env(), [=]() -> ToJs {
      c10::AutoGradMode gradients(true);
      const auto a = abnormal.detach().set_requires_grad(true);
      const auto n = normal.detach().set_requires_grad(true);
      const auto loss = MilRankingLoss(a, n, settings);
      loss.total.backward();
      const auto total = loss.total.item<double>();
      return [=, parts = PartsOf(loss)](Napi::Env env) {
        return LossTo(env, total, parts, TensorTo(env, a.grad()), TensorTo(env, n.grad()));
      };
    });
  });
}

/// { scores, magnitudes, features } of some videos, of which scores and features take gradients.
RtfmOutputs RtfmOutputsFrom(const Napi::Value& value, const std::string& what) {
  const auto object = ObjectFrom(value, what);
  RtfmOutputs outputs{ScoresFrom(object.Get("scores"), what + ".scores"),
                      ScoresFrom(object.Get("magnitudes"), what + ".magnitudes"),
                      TensorFrom(object.Get("features"), what + ".features").to(at::kFloat)};
  const auto& f = outputs.features;
  if (outputs.magnitudes.sizes() != outputs.scores.sizes() || f.dim() != 4 || f.numel() == 0 ||
      f.size(0) != outputs.scores.size(0) || f.size(2) != outputs.scores.size(1)) {
    throw ShapeError(what + ": scores " + ShapeText(outputs.scores.sizes()) + ", magnitudes " +
                     ShapeText(outputs.magnitudes.sizes()) + " and features " + ShapeText(f.sizes()) +
                     " do not fit together; wanted (videos, T), (videos, T) and (videos, crops, T, F).");
  }
  return outputs;
}

/// The gradients by { scores, magnitudes, features }; what the loss does not depend on has zeros.
Napi::Object GradientsTo(Napi::Env env, const RtfmOutputs& outputs) {
  auto object = Napi::Object::New(env);
  const auto set = [&](const char* name, const at::Tensor& x) {
    object.Set(name, TensorTo(env, x.grad().defined() ? x.grad() : at::zeros_like(x)));
  };
  set("scores", outputs.scores);
  set("magnitudes", outputs.magnitudes);
  set("features", outputs.features);
  return object;
}

/// ERR_SHAPE unless the features have as many crops, and numbers a segment, in both.
void CheckFeatures(const at::Tensor& abnormal, const at::Tensor& normal) {
  if (abnormal.size(1) == normal.size(1) && abnormal.size(3) == normal.size(3)) return;
  const auto text = [](const at::Tensor& x) {
    return std::to_string(x.size(1)) + " crops of " + std::to_string(x.size(3)) + " numbers";
  };
  throw ShapeError("abnormal: features of " + text(abnormal) + ", normal: of " + text(normal) +
                   "; wanted as many crops and numbers of both.");
}

/// rtfmLoss(abnormal, normal, settings)
Napi::Value RtfmLossOf(const Napi::CallbackInfo& info) {
  return Guarded(info, [&]() -> Napi::Value {
    const auto abnormal = RtfmOutputsFrom(info[0], "abnormal");
    const auto normal = RtfmOutputsFrom(info[1], "normal");
    const auto object = ObjectFrom(info[2], "options");
    const auto settings = RtfmLossFrom(object);
    const auto seed = static_cast<uint64_t>(IntegerFrom(object.Get("seed"), "seed"));
    CheckFeatures(abnormal.features, normal.features);
    const bool same = settings.paper || abnormal.scores.size(0) == normal.scores.size(0);
    if (!same || abnormal.scores.size(1) != normal.scores.size(1)) {
      throw ShapeError("abnormal: scores " + ShapeText(abnormal.scores.sizes()) +
                       ", normal: " + ShapeText(normal.scores.sizes()) +
                       "; wanted as many segments, and as many videos, of both.");
    }
    return EnvState::Of(info.Env())->Promise(info.Env(), [=]() -> ToJs {
      c10::AutoGradMode gradients(true);
      const auto leaf = [](const RtfmOutputs& outputs) {
        const auto take = [](const at::Tensor& x) { return x.detach().set_requires_grad(true); };
        return RtfmOutputs{take(outputs.scores), take(outputs.magnitudes), take(outputs.features)};
      };
      const auto a = leaf(abnormal);
      const auto n = leaf(normal);
      const auto loss = RtfmLoss(a, n, settings, at::detail::createCPUGenerator(seed));
      loss.total.backward();
      const auto total = loss.total.item<double>();
      return [=, parts = PartsOf(loss)](Napi::Env env) {
        return LossTo(env, total, parts, GradientsTo(env, a), GradientsTo(env, n));
      };
    });
  });
}

}  // namespace

void RegisterLosses(Napi::Env env, Napi::Object exports) {
  const auto add = [&](const char* name, Napi::Value (*function)(const Napi::CallbackInfo&)) {
    exports.Set(name, Napi::Function::New(env, function, name));
  };
  add("classBalancedCrossEntropy", ClassBalanced);
  add("milRanking", MilRanking);
  add("rtfmLoss", RtfmLossOf);
}

}  // namespace torchvid
