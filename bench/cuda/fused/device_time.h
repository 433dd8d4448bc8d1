// Time of kernels on the device.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace coeus::cuda {

/// Unguarded bfloat16 or zero memory.
class Memory {
 public:
  explicit Memory(int64_t bytes, bool bfloat16 = true);
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  template <class T = void>
  T* get() const {
    return static_cast<T*>(memory_);
  }

 private:
  void* memory_ = nullptr;
};

/// Prints the median of 20 runs, each with caches that hold none of its data, and the bytes a
/// second.
void time(const std::string& what, double bytes, const std::function<void()>& run);

}  // namespace coeus::cuda
