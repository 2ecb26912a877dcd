#include "core/weights/tensor_file.h"

#include <fcntl.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#ifndef _WIN32
#include <unistd.h>
#endif

#include "core/cancel.h"
#include "core/error.h"

namespace torchvid {

namespace {

struct DtypeName {
  const char* name;
  at::ScalarType type;
};

constexpr DtypeName kDtypes[] = {
    {"F64", at::kDouble}, {"F32", at::kFloat}, {"F16", at::kHalf},  {"BF16", at::kBFloat16},
    {"I64", at::kLong},   {"I32", at::kInt},   {"I16", at::kShort}, {"I8", at::kChar},
    {"U8", at::kByte},    {"BOOL", at::kBool},
};

Error FormatError(const std::string& path, const std::string& what) {
  return {"ERR_CHECKPOINT_FORMAT",
          path + ": " + what + " The file is damaged or was cut short; fetch it again."};
}

/// Elements from the first to the last one a tensor touches; -1 when that overflows or is negative.
int64_t Span(const TensorRow& row) {
  int64_t last = 0;
  int64_t contiguous = 1;
  for (size_t i = row.shape.size(); i-- > 0;) {
    if (row.shape[i] < 0) return -1;
    if (row.shape[i] == 0) return 0;
    const int64_t stride = row.strides.empty() ? contiguous : row.strides[i];
    int64_t reach = 0;
    if (stride < 0 || __builtin_mul_overflow(row.shape[i] - 1, stride, &reach) ||
        __builtin_add_overflow(last, reach, &last) ||
        __builtin_mul_overflow(contiguous, row.shape[i], &contiguous)) {
      return -1;
    }
  }
  return last + 1;
}

std::string JsonText(const std::string& text) {
  std::string out = "\"";
  for (const unsigned char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c < 0x20) {
      char code[8];
      std::snprintf(code, sizeof code, "\\u%04x", c);
      out += code;
    } else {
      out += static_cast<char>(c);
    }
  }
  return out + "\"";
}

const char* NameOf(at::ScalarType type) {
  for (const auto& dtype : kDtypes) {
    if (dtype.type == type) return dtype.name;
  }
  throw InvalidArgument(std::string("Tensors of type ") + at::toString(type) +
                        " cannot be written to safetensors.");
}

std::string Header(const std::map<std::string, std::string>& metadata,
                   const std::vector<std::pair<std::string, at::Tensor>>& tensors) {
  std::ostringstream json;
  json << "{\"__metadata__\":{";
  const char* comma = "";
  for (const auto& [key, value] : metadata) {
    json << comma << JsonText(key) << ':' << JsonText(value);
    comma = ",";
  }
  json << '}';
  size_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    json << ',' << JsonText(name) << ":{\"dtype\":\"" << NameOf(tensor.scalar_type()) << "\",\"shape\":[";
    comma = "";
    for (const auto size : tensor.sizes()) {
      json << comma << size;
      comma = ",";
    }
    json << "],\"data_offsets\":[" << offset << ',' << offset + tensor.nbytes() << "]}";
    offset += tensor.nbytes();
  }
  json << '}';
  auto header = json.str();
  header.resize((header.size() + 7) / 8 * 8, ' ');
  return header;
}

/// A file that appears under its name only when it is whole.
class WholeFile {
 public:
  explicit WholeFile(const std::string& path) : path_(path) {
    static std::atomic<unsigned> counter{0};
    temporary_ = path + ".partial-" + std::to_string(::getpid()) + "-" + std::to_string(counter++);
    file_ = std::fopen(temporary_.c_str(), "wbx");
    if (file_ == nullptr) Fail("cannot be written");
  }
  ~WholeFile() {
    if (file_ != nullptr) std::fclose(file_);
    if (!temporary_.empty()) std::remove(temporary_.c_str());
  }
  WholeFile(const WholeFile&) = delete;
  WholeFile& operator=(const WholeFile&) = delete;

  void Write(const void* data, size_t size) {
    if (std::fwrite(data, 1, size, file_) != size) Fail("could not be written whole");
  }
  void Finish() {
    if (std::fflush(file_) != 0) Fail("could not be written whole");
#ifndef _WIN32
    if (::fsync(::fileno(file_)) != 0 && errno != EINVAL) Fail("could not be written whole");
#endif
    const int closed = std::fclose(file_);
    file_ = nullptr;
    if (closed != 0) Fail("could not be written whole");
    std::error_code error;
    std::filesystem::rename(temporary_, path_, error);
    if (error) throw IoError(path_ + " could not be put in place: " + error.message() + ".");
    temporary_.clear();
  }

 private:
  [[noreturn]] void Fail(const std::string& what) {
    const std::string reason = std::strerror(errno);
    if (file_ != nullptr) std::fclose(file_);
    file_ = nullptr;
    std::remove(temporary_.c_str());
    throw IoError(path_ + " " + what + ": " + reason +
                  ". Check that the folder exists, is writable and has room.");
  }

  std::string path_;
  std::string temporary_;
  std::FILE* file_ = nullptr;
};

}  // namespace

at::ScalarType DtypeOf(const std::string& name) {
  std::string known;
  for (const auto& dtype : kDtypes) {
    if (name == dtype.name) return dtype.type;
    known += (known.empty() ? "" : ", ") + std::string(dtype.name);
  }
  throw Error("ERR_CHECKPOINT_FORMAT", "Element type '" + name + "' is not read; those read: " + known + ".");
}

at::Tensor ReadTensor(const std::string& path, const TensorRow& row) {
  const auto element = static_cast<int64_t>(c10::elementSize(row.dtype));
  const int64_t span = Span(row);
  int64_t bytes = 0;
  if (span < 0 || row.offset < 0 || __builtin_mul_overflow(span, element, &bytes))
    throw FormatError(path, "A tensor has an impossible shape.");
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) throw IoError(path + " cannot be read: " + std::strerror(errno) + ".");
  const auto size = static_cast<int64_t>(file.tellg());
  if (bytes > size || row.offset > size - bytes) throw FormatError(path, "A tensor lies outside the file.");
  // Memory is taken only now that the file is known to hold as much. Overlapping strides cannot ask for more.
  auto storage = at::empty({span}, at::TensorOptions().dtype(row.dtype));
  file.seekg(row.offset);
  file.read(static_cast<char*>(storage.data_ptr()), bytes);
  if (file.gcount() != bytes) throw IoError(path + " ended while it was being read.");
  if (row.strides.empty() || span == 0) return storage.view(row.shape);
  return storage.as_strided(row.shape, row.strides);
}

void WriteSafetensors(const std::string& path, const std::map<std::string, std::string>& metadata,
                      const std::vector<std::pair<std::string, at::Tensor>>& tensors) {
  const auto header = Header(metadata, tensors);
  WholeFile file(path);
  unsigned char length[8];
  for (int i = 0; i < 8; ++i)
    length[i] = static_cast<unsigned char>(static_cast<uint64_t>(header.size()) >> (8 * i));
  file.Write(length, sizeof length);
  file.Write(header.data(), header.size());
  for (const auto& [name, tensor] : tensors) {
    ThrowIfCancelled();
    const auto data = tensor.to(at::kCPU).contiguous();
    file.Write(data.const_data_ptr(), data.nbytes());
  }
  file.Finish();
}

}  // namespace torchvid
