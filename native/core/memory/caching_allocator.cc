#include "core/memory/caching_allocator.h"

#include <c10/core/CPUAllocator.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>
#include <mutex>
#include <new>
#include <vector>

#ifdef __linux__
#include <sys/mman.h>
#endif
#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace torchvid {

namespace {

constexpr size_t kSmallest = size_t{1} << 20;  // smaller blocks are malloc's business
constexpr size_t kGranule = size_t{64} << 10;  // sizes are rounded up to this
constexpr size_t kMostKept = size_t{4} << 30;  // beyond it, freed blocks go back at once
constexpr size_t kAlignment = 64;              // as c10's own allocator
/// A block that was kept while so many others were taken is of a size that is no longer asked for. Far more
/// than a training pass takes, some 50 frames of a video's.
constexpr uint64_t kStale = uint64_t{1} << 14;
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

/// Every block starts with one; the tensor's memory follows at the next aligned place. (LibTorch also takes
/// raw memory from its allocator, so the data pointer must be all that a deleter needs.)
struct Header {
  size_t size;    // 0: not to be kept
  uint64_t kept;  // how many blocks had been taken when it was given back
};
constexpr size_t kHeader = kAlignment;
static_assert(sizeof(Header) <= kHeader);

void* DataOf(Header* block) { return reinterpret_cast<char*>(block) + kHeader; }
Header* BlockOf(void* data) { return reinterpret_cast<Header*>(static_cast<char*>(data) - kHeader); }

/// Freed large blocks by size; a request takes the smallest that fits and wastes at most an eighth. Sizes
/// that are asked for once and never again (a video's object changes its size) would pile up: stale blocks
/// go.
class BlockCache {
 public:
  /// A block that holds `bytes`, or null.
  Header* Take(size_t bytes) {
    const size_t size = (bytes + kGranule - 1) / kGranule * kGranule;
    std::vector<Header*> stale;
    {
      std::lock_guard lock(mutex_);
      ++taken_;
      const auto found = free_.lower_bound(size);
      if (found != free_.end() && found->first <= size + size / 8) {
        auto* block = found->second;
        free_.erase(found);
        kept_ -= block->size;
        return block;
      }
      stale = TakeStale();
    }
    for (auto* block : stale) GiveToSystem(block);
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
        block->kept = taken_;
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
  std::vector<Header*> TakeStale() {
    std::vector<Header*> stale;
    for (auto place = free_.begin(); place != free_.end();) {
      auto* block = place->second;
      const bool is_stale = taken_ - block->kept > kStale;
      if (is_stale) {
        stale.push_back(block);
        kept_ -= block->size;
      }
      place = is_stale ? free_.erase(place) : std::next(place);
    }
    return stale;
  }

  std::mutex mutex_;
  std::multimap<size_t, Header*> free_;
  uint64_t taken_ = 0;
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
      block = new (memory) Header{0, 0};
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

namespace {

/// Large blocks come from the system and go back to it. glibc's malloc raises the size from which that holds
/// as it sees such blocks freed, up to 32 MB; frames' buffers then break its heaps to pieces, and a process
/// grows by tens of megabytes over a long video. A value that the user chose stays.
void GiveLargeBlocksBack() {
#ifdef __GLIBC__
  if (std::getenv("MALLOC_MMAP_THRESHOLD_") == nullptr) mallopt(M_MMAP_THRESHOLD, kSmallest);
#endif
}

}  // namespace

void InstallCachingAllocator() {
  static const bool installed = [] {
    GiveLargeBlocksBack();
    c10::SetCPUAllocator(new CachingAllocator(), 255);
    return true;
  }();
  (void)installed;
}

void ReleaseCachedMemory() { Cache().Release(); }

}  // namespace torchvid
