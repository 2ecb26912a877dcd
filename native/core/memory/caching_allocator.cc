#include "core/memory/caching_allocator.h"

#include <c10/core/CPUAllocator.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <new>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace torchvid {

namespace {

constexpr size_t kSmallest = size_t{1} << 20;  // smaller blocks are malloc's business
constexpr size_t kGranule = size_t{64} << 10;  // sizes are rounded up to this
constexpr size_t kMostKept = size_t{4} << 30;  // beyond it, freed blocks go back at once
constexpr size_t kAlignment = 64;              // as c10's own allocator
constexpr size_t kHugePage = size_t{2} << 20;

void* TakeFromSystem(size_t size) {
  void* data = nullptr;
#ifdef _WIN32
  data = _aligned_malloc(size, kAlignment);
#else
  const bool huge = size >= kHugePage;
  if (posix_memalign(&data, huge ? kHugePage : kAlignment, size) != 0) data = nullptr;
#ifdef __linux__
  if (data != nullptr && huge) madvise(data, size, MADV_HUGEPAGE);
#endif
#endif
  return data;
}

void GiveToSystem(void* data) {
#ifdef _WIN32
  _aligned_free(data);
#else
  std::free(data);
#endif
}

/// Every block starts with its size, 0 for those that are not kept; the tensor's memory follows at the next
/// aligned place. (LibTorch also takes raw memory from its allocator, so the data pointer must be all that a
/// deleter needs.)
struct Header {
  size_t size;
};
constexpr size_t kHeader = kAlignment;
static_assert(sizeof(Header) <= kHeader);

void* DataOf(Header* block) { return reinterpret_cast<char*>(block) + kHeader; }
Header* BlockOf(void* data) { return reinterpret_cast<Header*>(static_cast<char*>(data) - kHeader); }

/// Freed large blocks by size; a request takes the smallest that fits and wastes at most an eighth.
class BlockCache {
 public:
  /// A block that holds `bytes`, or null.
  Header* Take(size_t bytes) {
    const size_t size = (bytes + kGranule - 1) / kGranule * kGranule;
    {
      std::lock_guard lock(mutex_);
      const auto found = free_.lower_bound(size);
      if (found != free_.end() && found->first <= size + size / 8) {
        auto* block = found->second;
        free_.erase(found);
        kept_ -= block->size;
        return block;
      }
    }
    auto* block = static_cast<Header*>(TakeFromSystem(kHeader + size));
    if (block == nullptr) {
      Release();
      block = static_cast<Header*>(TakeFromSystem(kHeader + size));
    }
    if (block != nullptr) block->size = size;
    return block;
  }

  void Give(Header* block) {
    {
      std::lock_guard lock(mutex_);
      if (kept_ + block->size <= kMostKept) {
        kept_ += block->size;
        free_.emplace(block->size, block);
        return;
      }
    }
    GiveToSystem(block);
  }

  void Release() {
    std::multimap<size_t, Header*> blocks;
    {
      std::lock_guard lock(mutex_);
      blocks.swap(free_);
      kept_ = 0;
    }
    for (const auto& [size, block] : blocks) GiveToSystem(block);
  }

 private:
  std::mutex mutex_;
  std::multimap<size_t, Header*> free_;
  size_t kept_ = 0;
};

/// Never destroyed: tensors may be freed while the process ends.
BlockCache& Cache() {
  static auto* cache = new BlockCache();
  return *cache;
}

void Delete(void* data) {
  if (data == nullptr) return;
  auto* block = BlockOf(data);
  if (block->size == 0) {
    GiveToSystem(block);
  } else {
    Cache().Give(block);
  }
}

class CachingAllocator : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    const c10::Device device(c10::DeviceType::CPU);
    if (bytes == 0) return {nullptr, nullptr, &Delete, device};
    Header* block = nullptr;
    if (bytes >= kSmallest) {
      block = Cache().Take(bytes);
    } else if (void* memory = TakeFromSystem(kHeader + bytes)) {
      block = new (memory) Header{0};
    }
    TORCH_CHECK(block != nullptr, "can't allocate memory: you tried to allocate ", bytes, " bytes.");
    return {DataOf(block), DataOf(block), &Delete, device};
  }

  c10::DeleterFnPtr raw_deleter() const override { return &Delete; }

  void copy_data(void* target, const void* source, size_t count) const override {
    std::memcpy(target, source, count);
  }
};

}  // namespace

void InstallCachingAllocator() {
  static const bool installed = [] {
    c10::SetCPUAllocator(new CachingAllocator(), 255);
    return true;
  }();
  (void)installed;
}

void ReleaseCachedMemory() { Cache().Release(); }

}  // namespace torchvid
