#pragma once

#include <ATen/ATen.h>
#include <napi.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/graph/network.h"
#include "core/image/pixels.h"
#include "core/image/segment.h"
#include "core/metrics/davis.h"
#include "core/weights/tensor_file.h"

namespace torchvid {

// From JavaScript. Everything is copied: a typed array can be transferred away while the engine works. Each
// throws ERR_INVALID_ARGUMENT or ERR_SHAPE that names `what`.
at::Tensor TensorFrom(const Napi::Value& value, const std::string& what);
TensorMap TensorMapFrom(const Napi::Value& value, const std::string& what);
Graph GraphFrom(const Napi::Value& value);
TensorRow RowFrom(const Napi::Value& value);
PixelFormat PixelFormatFrom(const Napi::Value& value);
/// RGB bytes (H, W, 3) from { data, width, height, channels: 3 }.
at::Tensor ImageFrom(const Napi::Value& value, const std::string& what);
/// Bytes (H, W) from { data, width, height }.
at::Tensor MaskTensorFrom(const Napi::Value& value, const std::string& what);
/// The same for the metrics.
Mask MaskFrom(const Napi::Value& value, const std::string& what);

/// Shapes by name, sizes of at least 1.
ShapeMap ShapesFrom(const Napi::Value& value);

std::string TextFrom(const Napi::Value& value, const std::string& what);
double NumberFrom(const Napi::Value& value, const std::string& what);
int64_t IntegerFrom(const Napi::Value& value, const std::string& what);
Napi::Object ObjectFrom(const Napi::Value& value, const std::string& what);
Napi::Array ArrayFrom(const Napi::Value& value, const std::string& what);
std::vector<std::string> TextsFrom(const Napi::Value& value, const std::string& what);
std::map<std::string, std::string> TextMapFrom(const Napi::Value& value, const std::string& what);
/// The device of a name, tried if that has not been done yet: see ResolveDevice.
at::Device DeviceFrom(const Napi::Value& value);
/// Throws ERR_INVALID_ARGUMENT unless a network on device `actual` is where `value` says; 'auto' is where it
/// is.
void CheckDevice(const Napi::Value& value, at::Device actual);

// To JavaScript.
/// { data, shape }; half and bfloat16 become float.
Napi::Object TensorTo(Napi::Env env, const at::Tensor& tensor);
Napi::Array ShapeTo(Napi::Env env, at::IntArrayRef shape);
Napi::Array SummaryTo(Napi::Env env, const std::vector<LayerSummary>& summary);
/// A graph's nodes as plain JSON.
Napi::Array NodesTo(Napi::Env env, const Graph& graph);
/// { mask, probability }
Napi::Object SegmentationTo(Napi::Env env, const Segmentation& segmentation);
/// The bytes of a CPU tensor as a typed array of its type.
Napi::Value DataTo(Napi::Env env, const at::Tensor& tensor);

}  // namespace torchvid
