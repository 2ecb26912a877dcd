#include "core/memory/caching_allocator.h"

#include <c10/core/CPUAllocator.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace torchvid {

namespace {

constexpr size_t kSmallest = size_t{1} << 20;      // smaller blocks are malloc's business
constexpr size_t kGranule = size_t{64} << 10;      // sizes are rounded up to this
constexpr size_t kMostKept = size_t{4} << 30;      // beyond it, freed blocks go back at once
constexpr size_t kAlignment = 64;                  // as c10's own allocator
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

/// Freed large blocks by size; a request takes the smallest that fits and wastes at most an eighth.
class BlockCache {
 public:
  struct Block {
    void* data;
    size_t size;
  };

  Block* Take(size_t bytes) {
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
    void* data = TakeFromSystem(size);
    if (data == nullptr) {
      Release();
      data = TakeFromSystem(size);
    }
    return data == nullptr ? nullptr : new Block{data, size};
  }

  void Give(Block* block) {
    {
      std::lock_guard lock(mutex_);
      if (kept_ + block->size <= kMostKept) {
        kept_ += block->size;
        free_.emplace(block->size, block);
        return;
      }
    }
    Destroy(block);
  }

  void Release() {
    std::multimap<size_t, Block*> blocks;
    {
      std::lock_guard lock(mutex_);
      blocks.swap(free_);
      kept_ = 0;
    }
    for (const auto& [size, block] : blocks) Destroy(block);
  }

 private:
  static void Destroy(Block* block) {
    GiveToSystem(block->data);
    delete block;
  }

  std::mutex mutex_;
  std::multimap<size_t, Block*> free_;
  size_t kept_ = 0;
};

/// Never destroyed: tensors may be freed while the process ends.
BlockCache& Cache() {
  static auto* cache = new BlockCache();
  return *cache;
}

class CachingAllocator : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    const c10::Device device(c10::DeviceType::CPU);
    if (bytes == 0) return {nullptr, nullptr, &c10::detail::deleteNothing, device};
    if (bytes < kSmallest) {
      void* data = TakeFromSystem(bytes);
      TORCH_CHECK(data != nullptr, "can't allocate memory: you tried to allocate ", bytes, " bytes.");
      return {data, data, &GiveToSystem, device};
    }
    auto* block = Cache().Take(bytes);
    TORCH_CHECK(block != nullptr, "can't allocate memory: you tried to allocate ", bytes, " bytes.");
    return {block->data, block, [](void* context) { Cache().Give(static_cast<BlockCache::Block*>(context)); }, device};
  }

  void copy_data(void* target, const void* source, size_t count) const override { std::memcpy(target, source, count); }
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
