// Memory of the device for the tensors of one case.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stdexcept>

#include "coeus/kernels/cuda/check.h"

namespace coeus::cuda {

/// Device memory that is taken piece by piece and given back all at once. Pieces start out as NaN
/// in every type.
class Arena {
 public:
  Arena(size_t most, cudaStream_t stream) : stream_(stream) {
    size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
    bytes_ = std::min(most, free / 10 * 9);
    check(cudaMalloc(&data_, bytes_), "cudaMalloc");
  }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena() { cudaFree(data_); }

  void* take(int64_t bytes) {
    void* const piece = static_cast<char*>(data_) + used_;
    const size_t size = (static_cast<size_t>(bytes) + 511) / 256 * 256;
    if (used_ + size > bytes_) throw std::runtime_error("the device has too little memory for it");
    used_ += size;
    check(cudaMemsetAsync(piece, 0xFF, size, stream_), "cudaMemsetAsync");
    return piece;
  }
  template <class T>
  T* take_array(int64_t count) {
    return static_cast<T*>(take(count * static_cast<int64_t>(sizeof(T))));
  }
  void give_back_all() { used_ = 0; }

 private:
  cudaStream_t stream_;
  void* data_ = nullptr;
  size_t bytes_ = 0;
  size_t used_ = 0;
};

}  // namespace coeus::cuda
