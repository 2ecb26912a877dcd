#include "bindings/convert.h"

#include <cmath>
#include <cstring>

#include "core/device/device.h"
#include "core/error.h"

namespace torchvid {

namespace {

constexpr double kLargestInteger = 9007199254740991.0;

std::vector<int64_t> IntegersFrom(const Napi::Value& value, const std::string& what) {
  const auto array = ArrayFrom(value, what);
  std::vector<int64_t> out;
  for (uint32_t i = 0; i < array.Length(); ++i) out.push_back(IntegerFrom(array.Get(i), what));
  return out;
}

at::ScalarType DtypeOfArray(const Napi::TypedArray& array, const std::string& what) {
  switch (array.TypedArrayType()) {
    case napi_float32_array:
      return at::kFloat;
    case napi_float64_array:
      return at::kDouble;
    case napi_int32_array:
      return at::kInt;
    case napi_bigint64_array:
      return at::kLong;
    case napi_uint8_array:
    case napi_uint8_clamped_array:
      return at::kByte;
    default:
      throw InvalidArgument(
          what + ": wanted a Float32Array, Float64Array, Int32Array, BigInt64Array or Uint8Array.");
  }
}

at::Tensor CopyOf(const Napi::TypedArray& array, at::ScalarType dtype, const std::vector<int64_t>& shape) {
  auto tensor = at::empty(shape, at::TensorOptions().dtype(dtype));
  const auto* bytes = static_cast<const uint8_t*>(array.ArrayBuffer().Data()) + array.ByteOffset();
  if (tensor.nbytes() > 0) std::memcpy(tensor.data_ptr(), bytes, tensor.nbytes());
  return tensor;
}

at::Tensor PixelsFrom(const Napi::Value& value, const std::string& what, int64_t channels) {
  const auto object = ObjectFrom(value, what);
  const auto width = IntegerFrom(object.Get("width"), what + ".width");
  const auto height = IntegerFrom(object.Get("height"), what + ".height");
  if (!object.Get("data").IsTypedArray()) throw InvalidArgument(what + ".data: wanted a Uint8Array.");
  const auto data = object.Get("data").As<Napi::TypedArray>();
  if (DtypeOfArray(data, what) != at::kByte) throw InvalidArgument(what + ".data: wanted a Uint8Array.");
  const auto wanted =
      static_cast<double>(width) * static_cast<double>(height) * static_cast<double>(channels);
  if (width < 1 || height < 1 || wanted != static_cast<double>(data.ElementLength())) {
    throw ShapeError(what + ": " + std::to_string(data.ElementLength()) + " bytes do not make " +
                     std::to_string(width) + " x " + std::to_string(height) + " pixels of " +
                     std::to_string(channels) + " channels.");
  }
  std::vector<int64_t> shape{height, width};
  if (channels > 1) shape.push_back(channels);
  return CopyOf(data, at::kByte, shape);
}

Attribute AttributeFrom(const Napi::Value& value, const std::string& what) {
  if (value.IsBoolean()) return value.As<Napi::Boolean>().Value();
  if (value.IsNumber()) return value.As<Napi::Number>().DoubleValue();
  if (value.IsString()) return value.As<Napi::String>().Utf8Value();
  if (value.IsArray()) return IntegersFrom(value, what);
  throw InvalidArgument(what +
                        ": an attribute is a number, true or false, a text, or a list of whole numbers.");
}

Node NodeFrom(const Napi::Value& value, const std::string& what) {
  const auto object = ObjectFrom(value, what);
  Node node;
  node.op = TextFrom(object.Get("op"), what + ".op");
  node.name = TextFrom(object.Get("name"), what + ".name");
  node.inputs = TextsFrom(object.Get("inputs"), what + ".inputs");
  if (object.Has("attributes") && !object.Get("attributes").IsUndefined()) {
    const auto attributes = ObjectFrom(object.Get("attributes"), what + ".attributes");
    const auto keys = attributes.GetPropertyNames();
    for (uint32_t i = 0; i < keys.Length(); ++i) {
      const auto key = keys.Get(i).ToString().Utf8Value();
      node.attributes[key] = AttributeFrom(attributes.Get(key), Describe(node) + "." + key);
    }
  }
  if (object.Has("init") && !object.Get("init").IsUndefined()) {
    const auto init = ObjectFrom(object.Get("init"), what + ".init");
    const auto keys = init.GetPropertyNames();
    for (uint32_t i = 0; i < keys.Length(); ++i) {
      const auto key = keys.Get(i).ToString().Utf8Value();
      const auto row = ObjectFrom(init.Get(key), Describe(node) + ".init." + key);
      node.init[key] = {TextFrom(row.Get("distribution"), Describe(node) + ".init." + key + ".distribution"),
                        row.Get("value").IsUndefined()
                            ? 0
                            : NumberFrom(row.Get("value"), Describe(node) + ".init." + key + ".value")};
    }
  }
  node.frozen = object.Get("frozen").ToBoolean().Value();
  return node;
}

}  // namespace

std::string TextFrom(const Napi::Value& value, const std::string& what) {
  if (!value.IsString()) throw InvalidArgument(what + ": wanted a text.");
  return value.As<Napi::String>().Utf8Value();
}

double NumberFrom(const Napi::Value& value, const std::string& what) {
  if (!value.IsNumber()) throw InvalidArgument(what + ": wanted a number.");
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!std::isfinite(number)) throw InvalidArgument(what + ": wanted a finite number.");
  return number;
}

int64_t IntegerFrom(const Napi::Value& value, const std::string& what) {
  const double number = NumberFrom(value, what);
  if (std::floor(number) != number || std::abs(number) > kLargestInteger)
    throw InvalidArgument(what + ": wanted a whole number.");
  return static_cast<int64_t>(number);
}

Napi::Object ObjectFrom(const Napi::Value& value, const std::string& what) {
  if (!value.IsObject() || value.IsArray()) throw InvalidArgument(what + ": wanted an object.");
  return value.As<Napi::Object>();
}

Napi::Array ArrayFrom(const Napi::Value& value, const std::string& what) {
  if (!value.IsArray()) throw InvalidArgument(what + ": wanted an array.");
  return value.As<Napi::Array>();
}

std::vector<std::string> TextsFrom(const Napi::Value& value, const std::string& what) {
  const auto array = ArrayFrom(value, what);
  std::vector<std::string> out;
  for (uint32_t i = 0; i < array.Length(); ++i)
    out.push_back(TextFrom(array.Get(i), what + "[" + std::to_string(i) + "]"));
  return out;
}

std::map<std::string, std::string> TextMapFrom(const Napi::Value& value, const std::string& what) {
  const auto object = ObjectFrom(value, what);
  const auto keys = object.GetPropertyNames();
  std::map<std::string, std::string> out;
  for (uint32_t i = 0; i < keys.Length(); ++i) {
    const auto key = keys.Get(i).ToString().Utf8Value();
    out[key] = TextFrom(object.Get(key), what + "." + key);
  }
  return out;
}

at::Device DeviceFrom(const Napi::Value& value) { return ResolveDevice(TextFrom(value, "device")); }

void CheckDevice(const Napi::Value& value, at::Device actual) {
  const auto name = TextFrom(value, "device");
  if (name == "auto") return;
  const auto device = ResolveDevice(name);
  if (device == actual) return;
  throw InvalidArgument("device: the network is on " + actual.str() + "; create or open it on " +
                        device.str() + ".");
}

at::Tensor TensorFrom(const Napi::Value& value, const std::string& what) {
  const auto object = ObjectFrom(value, what);
  const auto shape = IntegersFrom(object.Get("shape"), what + ".shape");
  double product = 1;
  for (const auto size : shape) {
    if (size < 0) throw ShapeError(what + ".shape: " + ShapeText(shape) + " has a negative size.");
    product *= static_cast<double>(size);
  }
  if (!object.Get("data").IsTypedArray()) throw InvalidArgument(what + ".data: wanted a typed array.");
  const auto data = object.Get("data").As<Napi::TypedArray>();
  const auto dtype = DtypeOfArray(data, what + ".data");
  if (product != static_cast<double>(data.ElementLength())) {
    throw ShapeError(what + ": the data has " + std::to_string(data.ElementLength()) +
                     " elements, its shape " + ShapeText(shape) + " wants another number.");
  }
  return CopyOf(data, dtype, shape);
}

TensorMap TensorMapFrom(const Napi::Value& value, const std::string& what) {
  const auto object = ObjectFrom(value, what);
  const auto keys = object.GetPropertyNames();
  TensorMap out;
  for (uint32_t i = 0; i < keys.Length(); ++i) {
    const auto key = keys.Get(i).ToString().Utf8Value();
    out[key] = TensorFrom(object.Get(key), what + " '" + key + "'").to(at::kFloat);
  }
  return out;
}

Graph GraphFrom(const Napi::Value& value) {
  const auto object = ObjectFrom(value, "graph");
  Graph graph;
  const auto inputs = ArrayFrom(object.Get("inputs"), "graph.inputs");
  for (uint32_t i = 0; i < inputs.Length(); ++i) {
    const auto what = "graph.inputs[" + std::to_string(i) + "]";
    const auto input = ObjectFrom(inputs.Get(i), what);
    const auto shape = ArrayFrom(input.Get("shape"), what + ".shape");
    GraphInput row{TextFrom(input.Get("name"), what + ".name"), {}};
    for (uint32_t d = 0; d < shape.Length(); ++d) {
      const Napi::Value size = shape.Get(d);
      row.shape.push_back(size.IsNull() ? -1 : IntegerFrom(size, what + ".shape"));
      if (!size.IsNull() && row.shape.back() < 1)
        throw InvalidArgument(what + ".shape: sizes are at least 1, or null for any.");
    }
    graph.inputs.push_back(std::move(row));
  }
  const auto nodes = ArrayFrom(object.Get("nodes"), "graph.nodes");
  for (uint32_t i = 0; i < nodes.Length(); ++i) {
    graph.nodes.push_back(NodeFrom(nodes.Get(i), "graph.nodes[" + std::to_string(i) + "]"));
  }
  const auto outputs = ObjectFrom(object.Get("outputs"), "graph.outputs");
  const auto names = outputs.GetPropertyNames();
  for (uint32_t i = 0; i < names.Length(); ++i) {
    const auto name = names.Get(i).ToString().Utf8Value();
    graph.outputs.emplace_back(name, TextFrom(outputs.Get(name), "graph.outputs." + name));
  }
  return graph;
}

TensorRow RowFrom(const Napi::Value& value) {
  const auto object = ObjectFrom(value, "tensor");
  TensorRow row;
  row.dtype = DtypeOf(TextFrom(object.Get("dtype"), "tensor.dtype"));
  row.shape = IntegersFrom(object.Get("shape"), "tensor.shape");
  if (!object.Get("strides").IsUndefined())
    row.strides = IntegersFrom(object.Get("strides"), "tensor.strides");
  if (!row.strides.empty() && row.strides.size() != row.shape.size())
    throw InvalidArgument("tensor.strides: one per dimension.");
  row.offset = IntegerFrom(object.Get("offset"), "tensor.offset");
  return row;
}

PixelFormat PixelFormatFrom(const Napi::Value& value) {
  const auto object = ObjectFrom(value, "pixels");
  PixelFormat format;
  format.bgr = TextFrom(object.Get("order"), "pixels.order") == "BGR";
  const auto triple = [&](const char* key, std::array<double, 3>* out) {
    const auto array = ArrayFrom(object.Get(key), std::string("pixels.") + key);
    if (array.Length() != 3) throw InvalidArgument(std::string("pixels.") + key + ": wanted three numbers.");
    for (uint32_t i = 0; i < 3; ++i) (*out)[i] = NumberFrom(array.Get(i), std::string("pixels.") + key);
  };
  triple("mean", &format.mean);
  triple("std", &format.std);
  return format;
}

at::Tensor ImageFrom(const Napi::Value& value, const std::string& what) { return PixelsFrom(value, what, 3); }

at::Tensor MaskTensorFrom(const Napi::Value& value, const std::string& what) {
  return PixelsFrom(value, what, 1);
}

Mask MaskFrom(const Napi::Value& value, const std::string& what) {
  const auto pixels = MaskTensorFrom(value, what);
  const auto* data = pixels.const_data_ptr<uint8_t>();
  return {std::vector<uint8_t>(data, data + pixels.numel()), pixels.size(1), pixels.size(0)};
}

Napi::Array ShapeTo(Napi::Env env, at::IntArrayRef shape) {
  auto array = Napi::Array::New(env, shape.size());
  for (uint32_t i = 0; i < shape.size(); ++i)
    array.Set(i, Napi::Number::New(env, static_cast<double>(shape[i])));
  return array;
}

Napi::Object SegmentationTo(Napi::Env env, const Segmentation& segmentation) {
  auto object = Napi::Object::New(env);
  object.Set("mask", DataTo(env, segmentation.mask));
  object.Set("probability", DataTo(env, segmentation.probability));
  return object;
}

Napi::Value DataTo(Napi::Env env, const at::Tensor& tensor) {
  auto source = tensor.cpu();
  napi_typedarray_type type = napi_float32_array;
  switch (source.scalar_type()) {
    case at::kFloat:
      break;
    case at::kDouble:
      type = napi_float64_array;
      break;
    case at::kInt:
      type = napi_int32_array;
      break;
    case at::kLong:
      type = napi_bigint64_array;
      break;
    case at::kByte:
      type = napi_uint8_array;
      break;
    case at::kBool:
      source = source.to(at::kByte);
      type = napi_uint8_array;
      break;
    case at::kShort:
    case at::kChar:
      source = source.to(at::kInt);
      type = napi_int32_array;
      break;
    default:
      source = source.to(at::kFloat);
  }
  source = source.contiguous();
  auto buffer = Napi::ArrayBuffer::New(env, source.nbytes());
  if (source.nbytes() > 0) std::memcpy(buffer.Data(), source.const_data_ptr(), source.nbytes());
  napi_value array = nullptr;
  napi_create_typedarray(env, type, static_cast<size_t>(source.numel()), buffer, 0, &array);
  return {env, array};
}

Napi::Object TensorTo(Napi::Env env, const at::Tensor& tensor) {
  auto object = Napi::Object::New(env);
  object.Set("data", DataTo(env, tensor));
  object.Set("shape", ShapeTo(env, tensor.sizes()));
  return object;
}

}  // namespace torchvid
