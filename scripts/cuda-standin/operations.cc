// Has LibTorch's CPU kernels compute what is called on the stand-in's device, in its memory, which is the
// host's: now, or when a graph is played. See README.md here.
#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/cuda/CUDAGeneratorImpl.h>
#include <ATen/ops/copy_native.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "runtime.h"

namespace {

using torch::jit::Stack;

/// About memory and layout, not about what is in it: LibTorch's own are right. (The normalisation of cuDNN
/// has kernels of its own below.)
const std::set<std::string> kLibTorchs{
    "aten::empty.memory_format",
    "aten::empty_strided",
    "aten::resize_",
    "aten::set_",
    "aten::set_.source_Storage",
    "aten::set_.source_Storage_storage_offset",
    "aten::set_.source_Tensor",
    "aten::is_set_to",
    "aten::as_strided",
    "aten::view",
    "aten::view_as_real",
    "aten::view_as_complex",
    "aten::_reshape_alias",
    "aten::unfold",
    "aten::record_stream",
    "aten::is_pinned",
    "aten::_pin_memory",
    "aten::_efficientzerotensor",
    "aten::_local_scalar_dense",
    "aten::cudnn_batch_norm",
    "aten::cudnn_batch_norm_backward",
};

/// Their results' sizes come from the device: they wait for it.
const std::set<std::string> kWaiting{"aten::nonzero",    "aten::masked_select", "aten::_unique2",
                                     "aten::unique_dim", "aten::_unique",       "aten::unique_consecutive",
                                     "aten::equal",      "aten::bincount"};

/// Not of CUDA by name, but made of kernels that are.
const std::vector<const char*> kComposed{"aten::convolution", "aten::convolution_backward"};

/// The CPU's kernels alone: no gradients, no autocast.
struct KernelsAlone {
  c10::impl::ExcludeDispatchKeyGuard autocast{c10::autocast_dispatch_keyset};
  at::AutoDispatchBelowADInplaceOrView below;
  c10::NoGradGuard no_grad;
};

void* CurrentStream() { return c10::cuda::getCurrentCUDAStream().stream(); }
bool Recording() { return StandinRecord(CurrentStream(), nullptr); }

at::Tensor WithWrapping(at::Tensor tensor, const at::Tensor& like) {
  // Wrapped numbers have no say in types.
  if (like.unsafeGetTensorImpl()->is_wrapped_number()) tensor.unsafeGetTensorImpl()->set_wrapped_number(true);
  return tensor;
}

/// The same memory as a tensor on the CPU.
at::Tensor OnHost(const at::Tensor& tensor) {
  if (!tensor.defined() || !tensor.is_cuda()) return tensor;
  const auto options = tensor.options().device(at::kCPU);
  if (tensor.numel() == 0) return at::empty_strided(tensor.sizes(), tensor.strides(), options);
  const auto keep = [](void*) {};
  return WithWrapping(at::from_blob(tensor.data_ptr(), tensor.sizes(), tensor.strides(), keep, options),
                      tensor);
}

at::Tensor NewOnDevice(const at::Tensor& like) {
  if (!like.defined()) return like;
  const auto options = like.options().device(c10::Device(at::kCUDA, 0));
  return at::empty_strided(like.sizes(), like.strides(), options);
}

at::Tensor CopyOnHost(const at::Tensor& tensor) {
  if (!tensor.defined()) return tensor;
  if (!tensor.is_non_overlapping_and_dense()) return WithWrapping(tensor.clone(), tensor);
  const auto copy = at::empty_strided(tensor.sizes(), tensor.strides(), tensor.options());
  return WithWrapping(copy.copy_(tensor), tensor);
}

/// Numbers drawn go on as CUDA's do, from replay to replay: they depend on the seed and the place in its
/// sequence.
class Random {
 public:
  explicit Random(const at::Generator& generator)
      : state_(at::check_generator<at::CUDAGeneratorImpl>(generator)->philox_cuda_state(kDraws)) {}

  at::Generator OnHost() const {
    const auto at_replay = [](const int64_t* value) { return static_cast<uint64_t>(*value); };
    const auto seed = state_.captured_ ? at_replay(state_.seed_.ptr) : state_.seed_.val;
    const auto place = state_.captured_ ? at_replay(state_.offset_.ptr) + state_.offset_intragraph_
                                        : static_cast<uint64_t>(state_.offset_.val);
    return at::detail::createCPUGenerator(seed * 1000003 + place);
  }

 private:
  static constexpr uint64_t kDraws = 4;
  at::PhiloxCudaState state_;
};

/// The value with every tensor in it mapped.
template <typename Map>
at::IValue Mapped(const at::IValue& value, Map map) {
  if (value.isTensor()) return at::IValue(map(value.toTensor()));
  if (value.isTensorList()) {
    c10::List<at::Tensor> list;
    for (const auto& each : value.toTensorVector()) list.push_back(map(each));
    return list;
  }
  if (value.isOptionalTensorList()) {
    c10::List<std::optional<at::Tensor>> list;
    for (const std::optional<at::Tensor>& each : value.toOptionalTensorList())
      list.push_back(each ? std::optional<at::Tensor>(map(*each)) : std::nullopt);
    return list;
  }
  return value;
}

void CopyInto(const at::IValue& place, const at::IValue& result) {
  const auto copy = [](const at::Tensor& to, const at::Tensor& from) {
    if (to.defined() && from.defined()) to.copy_(from);
  };
  if (result.isTensor()) return copy(place.toTensor(), result.toTensor());
  const auto to = place.toTensorVector();
  const auto from = result.toTensorVector();
  for (size_t i = 0; i < to.size(); ++i) copy(to[i], from[i]);
}

bool IsTensors(const at::IValue& value) { return value.isTensor() || value.isTensorList(); }

/// While it lives, sums over repeated places are added up in one order, as CUDA's kernel does.
class InOrder {
 public:
  InOrder() : before_(at::globalContext().deterministicAlgorithms()) {
    at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/true);
  }
  ~InOrder() { at::globalContext().setDeterministicAlgorithms(before_, /*warn_only=*/false); }

 private:
  bool before_;
};

/// An operation with its arguments on the host.
struct Call {
  c10::OperatorHandle operation;
  std::vector<at::IValue> arguments;
  /// Instead of the argument that is a generator.
  std::optional<std::pair<size_t, Random>> random;

  Stack Run() const {
    Stack stack;
    for (size_t i = 0; i < arguments.size(); ++i) {
      const auto* alias = operation.schema().arguments()[i].alias_info();
      const auto& value = arguments[i];
      if (random && i == random->first) {
        stack.emplace_back(random->second.OnHost());
      } else if (alias != nullptr && alias->isWrite() && value.isTensor() && value.toTensor().numel() == 0) {
        stack.emplace_back(at::empty({0}, value.toTensor().options()));  // it grows each time
      } else {
        stack.push_back(value);
      }
    }
    std::optional<InOrder> in_order;
    if (operation.operator_name().name == "aten::_index_put_impl_") in_order.emplace();
    operation.callBoxed(stack);
    return stack;
  }

  /// For the results' sizes: nothing that is there changes.
  Stack Try() const {
    Call copy{operation, {}, std::nullopt};
    // Of all tensors: not every one that is written to is told by the schema.
    for (const auto& value : arguments) copy.arguments.push_back(Mapped(value, CopyOnHost));
    if (random) copy.arguments[random->first] = at::detail::createCPUGenerator(0);
    return copy.Run();
  }
};

Call CallOf(const c10::OperatorHandle& operation, const std::vector<at::IValue>& given) {
  Call call{operation, {}, std::nullopt};
  const bool recording = Recording();
  for (size_t i = 0; i < given.size(); ++i) {
    const auto& value = given[i];
    if (operation.schema().arguments()[i].type()->str().find("Generator") != std::string::npos) {
      const auto generator =
          value.isNone() ? at::cuda::detail::getDefaultCUDAGenerator() : value.toGenerator();
      call.random.emplace(i, Random(generator));
      call.arguments.emplace_back();
    } else if (value.isDevice()) {
      call.arguments.emplace_back(c10::Device(at::kCPU));
    } else {
      call.arguments.push_back(Mapped(value, [&](const at::Tensor& tensor) {
        // A kernel is launched with the numbers of host tensors, not with their places.
        return recording && tensor.defined() && tensor.is_cpu() ? CopyOnHost(tensor) : OnHost(tensor);
      }));
    }
  }
  return call;
}

/// The argument that a result is, if it is one.
const at::IValue* SameAs(const c10::FunctionSchema& schema, size_t result,
                         const std::vector<at::IValue>& given) {
  const auto* wanted = schema.returns()[result].alias_info();
  for (size_t i = 0; wanted != nullptr && i < given.size(); ++i) {
    const auto* alias = schema.arguments()[i].alias_info();
    if (alias != nullptr && *alias == *wanted) return &given[i];
  }
  return nullptr;
}

/// In the place of every kernel of CUDA's.
void Compute(const c10::OperatorHandle& operation, c10::DispatchKeySet, Stack* stack) {
  const KernelsAlone kernels;
  const auto& schema = operation.schema();
  if (kWaiting.count(c10::toString(operation.operator_name())) != 0)
    c10::cuda::getCurrentCUDAStream().synchronize();
  const auto count = static_cast<int64_t>(schema.arguments().size());
  const std::vector<at::IValue> given(stack->end() - count, stack->end());
  stack->erase(stack->end() - count, stack->end());

  const auto call = CallOf(operation, given);
  const bool recording = Recording();
  const auto results = recording ? call.Try() : call.Run();
  // Where results go that are no arguments, or that had to grow.
  std::vector<std::pair<size_t, at::IValue>> places;
  for (size_t i = 0; i < results.size(); ++i) {
    const auto& result = results[i];
    const auto* same = SameAs(schema, i, given);
    const bool grows =
        same != nullptr && same->isTensor() && same->toTensor().sizes() != result.toTensor().sizes();
    if (grows) same->toTensor().resize_(result.toTensor().sizes());
    stack->push_back(same != nullptr ? *same : IsTensors(result) ? Mapped(result, NewOnDevice) : result);
    if (IsTensors(result) && (same == nullptr || grows))
      places.emplace_back(i, Mapped(stack->back(), OnHost));
  }
  const auto put = [places](const Stack& values) {
    for (const auto& [i, place] : places) CopyInto(place, values[i]);
  };
  if (!recording) return put(results);
  StandinRecord(CurrentStream(), [call, put] {
    const KernelsAlone again;
    put(call.Run());
  });
}

/// Copies of one type and layout are CUDA's own; what has to be converted or laid out is computed on the
/// device.
at::Tensor& Copy(at::Tensor& to, const at::Tensor& source, bool non_blocking) {
  const KernelsAlone kernels;
  const auto from = source.expand_as(to);
  if (to.numel() == 0) return to;
  const bool plain = to.scalar_type() == from.scalar_type() && to.strides() == from.strides() &&
                     to.is_non_overlapping_and_dense();
  if (plain) return at::native::copy_(to, from, non_blocking);
  if (to.is_cuda() && from.is_cuda()) {
    const auto work = [to = OnHost(to), from = OnHost(from)] {
      const KernelsAlone again;
      to.copy_(from);
    };
    if (!StandinRecord(CurrentStream(), work)) work();
    return to;
  }
  if (to.is_cuda()) {
    auto there = at::empty(from.sizes(), from.options().device(to.device()));
    at::native::copy_(there, from.contiguous(), non_blocking);
    return Copy(to, there, non_blocking);
  }
  auto there = at::empty_strided(to.sizes(), to.strides(), to.options().device(from.device()));
  Copy(there, from, non_blocking);
  return at::native::copy_(to, there, non_blocking);
}

using Normalised = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor>;

Normalised Normalise(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                     const std::optional<at::Tensor>& mean, const std::optional<at::Tensor>& variance,
                     bool training, double momentum, double epsilon) {
  const auto [y, m, v] = at::native_batch_norm(x, weight, bias, mean, variance, training, momentum, epsilon);
  return {y, m, v, at::empty({0}, x.options().dtype(at::kByte))};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> NormaliseBackward(
    const at::Tensor& x, const at::Tensor& gradient, const at::Tensor& weight,
    const std::optional<at::Tensor>& mean, const std::optional<at::Tensor>& variance,
    const std::optional<at::Tensor>& saved_mean, const std::optional<at::Tensor>& saved_variance,
    double epsilon, const at::Tensor&) {
  return at::native_batch_norm_backward(gradient, x, weight, mean, variance, saved_mean, saved_variance, true,
                                        epsilon, {true, true, true});
}

/// Replacing is what LibTorch warns of.
class Silence : public c10::WarningHandler {
 public:
  void process(const c10::Warning&) override {}
};

}  // namespace

extern "C" __attribute__((visibility("default"))) void StandinRegister() {
  static auto* library =
      new torch::Library(torch::Library::IMPL, "aten", c10::DispatchKey::CUDA, __FILE__, __LINE__);
  Silence silence;
  const c10::WarningUtils::WarningHandlerGuard guard(&silence);
  const auto replace = [](const std::string& name) {
    library->impl(name.c_str(), torch::CppFunction::makeFromBoxedFunction<&Compute>());
  };
  auto& dispatcher = c10::Dispatcher::singleton();
  for (const auto& name : dispatcher.getAllOpNames()) {
    const auto operation = dispatcher.findOp(name);
    const auto text = c10::toString(name);
    const bool is_cudas = operation && operation->hasSchema() && text.rfind("aten::", 0) == 0 &&
                          operation->hasKernelForDispatchKey(c10::DispatchKey::CUDA);
    if (is_cudas && kLibTorchs.count(text) == 0) replace(text);
  }
  for (const auto* name : kComposed) replace(name);
  library->impl("aten::copy_", &Copy);
  library->impl("aten::cudnn_batch_norm", &Normalise);
  library->impl("aten::cudnn_batch_norm_backward", &NormaliseBackward);
  // Attention by its formula: the fused kernels are CUDA's alone.
  at::globalContext().setSDPUseFlash(false);
  at::globalContext().setSDPUseMemEfficient(false);
  at::globalContext().setSDPUseCuDNN(false);
}
