#include "coeus/train/tensor_memory.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>
#include <c10/util/Exception.h>
#include <malloc.h>

#include <atomic>
#include <cstring>

#include "coeus/base/error.h"

namespace coeus {

namespace {

std::atomic<int64_t> current{0};
std::atomic<int64_t> peak{0};
std::atomic<bool> installed{false};

void count(int64_t bytes) {
  const int64_t now = current.fetch_add(bytes) + bytes;
  int64_t before = peak.load();
  while (before < now && !peak.compare_exchange_weak(before, now)) {
  }
}

void release(void* data) {
  if (data == nullptr) return;
  current.fetch_sub(static_cast<int64_t>(malloc_usable_size(data)));
  c10::free_cpu(data);
}

void* allocate_or_explain(size_t bytes) {
  try {
    return c10::alloc_cpu(bytes);
  } catch (const c10::Error&) {
    throw OutOfMemoryError(fmt::format(
        "a tensor of {} bytes does not fit into memory, where tensors hold {} already; lower "
        "training.local_batch_size or training.seq_len, or set activation_checkpoint.mode=full",
        bytes, current.load()));
  }
}

class CountingAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    void* data = allocate_or_explain(bytes);
    if (data != nullptr) count(static_cast<int64_t>(malloc_usable_size(data)));
    return {data, data, &release, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override {
    std::memcpy(to, from, bytes);
  }
};

}  // namespace

void TensorMemory::install() {
  if (installed.exchange(true)) return;
  constexpr int kLargestThreshold = 32 << 20;
  mallopt(M_MMAP_THRESHOLD, kLargestThreshold);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  // Never destroyed: tensors of static storage outlive main.
  static CountingAllocator* const allocator = new CountingAllocator;
  constexpr uint8_t kAboveDefault = 1;
  c10::SetCPUAllocator(allocator, kAboveDefault);
}

bool TensorMemory::is_installed() { return installed; }
int64_t TensorMemory::current_bytes() { return current; }
int64_t TensorMemory::peak_bytes() { return peak; }
void TensorMemory::reset_peak() { peak = current.load(); }

}  // namespace coeus
