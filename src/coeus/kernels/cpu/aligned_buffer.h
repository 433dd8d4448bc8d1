// Scratch memory of a kernel.
#pragma once

#include <cstdint>
#include <cstring>
#include <new>

namespace coeus {

/// `size` values of a plain type, uninitialised, on a cache line's boundary.
template <class T>
class AlignedBuffer {
 public:
  explicit AlignedBuffer(int64_t size)
      : data_(static_cast<T*>(::operator new(static_cast<size_t>(size) * sizeof(T), kAlignment))),
        size_(size) {}
  ~AlignedBuffer() { ::operator delete(data_, kAlignment); }
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;

  T* data() { return data_; }
  void fill_with_zeros() { std::memset(data_, 0, static_cast<size_t>(size_) * sizeof(T)); }

 private:
  static constexpr std::align_val_t kAlignment{64};
  T* data_;
  int64_t size_;
};

}  // namespace coeus
