// Opens shared libraries by path and keeps them open. LibTorch's folder is known only at run time, so the
// engine cannot carry it as an RPATH: its libraries are opened here first, and the engine then finds them by
// name.
#include <node_api.h>

#include <cstdlib>
#include <string>

#ifdef _WIN32
#include <windows.h>
#else
#include <dlfcn.h>
#endif

namespace {

/// LibTorch's OpenMP threads spin for about a tenth of a millisecond when they wait for each other, then
/// sleep, unless the user chose otherwise. Spinning on, as is usual, makes a pass five to nine times slower
/// beside other work on the same cores; sleeping at once makes one of many small layers up to twice as slow
/// on a quiet machine. The setting is read when the library is loaded, so it need not stay: child processes
/// do not inherit it.
class ShortWaits {
 public:
#ifdef _WIN32
  ShortWaits() = default;
#else
  ShortWaits() : set_(getenv("OMP_WAIT_POLICY") == nullptr && getenv("GOMP_SPINCOUNT") == nullptr) {
    if (set_) setenv("GOMP_SPINCOUNT", "2000", 0);
  }
  ~ShortWaits() {
    if (set_) unsetenv("GOMP_SPINCOUNT");
  }

 private:
  bool set_;
#endif
};

/// Opens one library for good; returns the system's words when it cannot be opened, else "".
std::string OpenForGood(const std::string& path) {
#ifdef _WIN32
  if (LoadLibraryExA(path.c_str(), nullptr, LOAD_WITH_ALTERED_SEARCH_PATH) != nullptr) return "";
  return "LoadLibraryEx failed with code " + std::to_string(GetLastError());
#else
  int flags = RTLD_NOW | RTLD_LOCAL;
#ifdef RTLD_DEEPBIND
  // Node exports its own zlib, OpenSSL and libuv: LibTorch must see its own symbols first.
  flags |= RTLD_DEEPBIND;
#endif
  if (dlopen(path.c_str(), flags) != nullptr) return "";
  const char* reason = dlerror();
  return reason != nullptr ? reason : "dlopen failed";
#endif
}

/// open(path: string): string
napi_value Open(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument = nullptr;
  napi_get_cb_info(env, info, &count, &argument, nullptr, nullptr);
  size_t length = 0;
  if (count != 1 || napi_get_value_string_utf8(env, argument, nullptr, 0, &length) != napi_ok) {
    napi_throw_type_error(env, nullptr, "open: wanted the path of a library");
    return nullptr;
  }
  std::string path(length, '\0');
  napi_get_value_string_utf8(env, argument, path.data(), length + 1, &length);
  const ShortWaits waits;
  const std::string failure = OpenForGood(path);
  napi_value result = nullptr;
  napi_create_string_utf8(env, failure.c_str(), failure.size(), &result);
  return result;
}

}  // namespace

NAPI_MODULE_INIT() {
  napi_value function = nullptr;
  if (napi_create_function(env, "open", NAPI_AUTO_LENGTH, Open, nullptr, &function) != napi_ok)
    return nullptr;
  napi_set_named_property(env, exports, "open", function);
  return exports;
}
