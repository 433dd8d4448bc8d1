#include "coeus/kernels/cuda/draw.h"

#include <algorithm>
#include <stdexcept>

#include "coeus/base/normal_quantile.h"
#include "coeus/kernels/cuda/check.h"
#include "coeus/kernels/cuda/vectors.cuh"

namespace coeus::cuda {
namespace {

constexpr int kThreads = 256;

/// What the draws of all elements share.
struct Sequence {
  uint64_t state;
  double scale;
  double cut;
  double low;
  double width;  ///< 1 - 2 * low
};

template <Distribution kDistribution>
__device__ __forceinline__ double value_of(const Sequence& sequence, uint64_t element) {
  const double u = uniform_from_bits(counter_bits(sequence.state, element));
  if constexpr (kDistribution == Distribution::kNormal) {
    return sequence.scale * normal_quantile_as241(u);
  } else if constexpr (kDistribution == Distribution::kTruncatedNormal) {
    const double p = multiply_add(sequence.width, u, sequence.low);
    const double value = sequence.scale * normal_quantile_as241(p);
    return value < -sequence.cut ? -sequence.cut : sequence.cut < value ? sequence.cut : value;
  } else {
    return sequence.scale * (2 * u - 1);
  }
}

/// Where the box's elements lie in the whole, outermost dimension first. The last stride is 1.
template <int kDims>
struct Box {
  int64_t first = 0;  ///< the number in the whole of the box's first element
  int64_t size[kDims] = {};
  int64_t stride[kDims] = {};  ///< in the whole
  int64_t step[kDims] = {};    ///< how far on a thread's next element is, as an index
};

/// The index in the box of element number i.
template <int kDims>
__host__ __device__ __forceinline__ void to_index(int64_t i, const int64_t (&size)[kDims],
                                                  int64_t (&index)[kDims]) {
  for (int d = kDims - 1; d > 0; --d) {
    index[d] = i % size[d];
    i /= size[d];
  }
  index[0] = i;
}

/// A thread's elements lie a constant apart, so its index moves by additions with carry; divisions
/// of 64 bits at each element would cost as much as the draw.
template <class T, Distribution kDistribution, int kDims>
__global__ void __launch_bounds__(kThreads)
    draw_kernel(T* values, int64_t n, const Sequence sequence, const Box<kDims> box) {
  int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  int64_t index[kDims];
  to_index(i, box.size, index);
  for (; i < n; i += int64_t{gridDim.x} * kThreads) {
    int64_t element = box.first + index[kDims - 1];
#pragma unroll
    for (int d = 0; d < kDims - 1; ++d) element += index[d] * box.stride[d];
    values[i] = rounded<T>(static_cast<float>(value_of<kDistribution>(sequence, element)));
    bool carry = false;
#pragma unroll
    for (int d = kDims - 1; d > 0; --d) {
      index[d] += box.step[d] + (carry ? 1 : 0);
      carry = index[d] >= box.size[d];
      if (carry) index[d] -= box.size[d];
    }
    index[0] += box.step[0] + (carry ? 1 : 0);
  }
}

/// The box in as few dimensions as say the same; returns their number. Leading sizes that nothing
/// needs are 1.
int merge_dims(const Draw& work, Box<Draw::kMaxDims>& box) {
  constexpr int kLast = Draw::kMaxDims - 1;
  std::fill_n(box.size, Draw::kMaxDims, 1);
  std::fill_n(box.stride, Draw::kMaxDims, 0);
  box.stride[kLast] = 1;
  if (work.dims == 0) {
    box.size[kLast] = work.n;
    return 1;
  }
  int at = kLast;
  int64_t stride = 1;
  for (int d = work.dims - 1; d >= 0; stride *= work.whole[d--]) {
    box.first += work.begin[d] * stride;
    if (work.size[d] == 1) continue;
    if (stride == box.stride[at] * box.size[at]) {
      box.size[at] *= work.size[d];
    } else {
      --at;
      box.size[at] = work.size[d];
      box.stride[at] = stride;
    }
  }
  return Draw::kMaxDims - at;
}

void check_box(const Draw& work) {
  if (work.dims < 0 || work.dims > Draw::kMaxDims)
    throw std::runtime_error("draw takes boxes of up to 4 dimensions");
  int64_t n = 1;
  for (int d = 0; d < work.dims; ++d) {
    if (work.begin[d] < 0 || work.size[d] < 0 || work.begin[d] + work.size[d] > work.whole[d])
      throw std::runtime_error("draw's box leaves the whole");
    n *= work.size[d];
  }
  if (work.n < 0 || (work.dims > 0 && n != work.n))
    throw std::runtime_error("draw's box has another number of elements");
}

/// Threads for all elements, or as many as the GPU holds at once.
template <class Kernel>
int64_t blocks_for(Kernel* kernel, int64_t n) {
  const int64_t processors = device_attribute(cudaDevAttrMultiProcessorCount);
  int on_each = 0;
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&on_each, kernel, kThreads, 0),
        "asking for draw's occupancy");
  return std::min<int64_t>((n + kThreads - 1) / kThreads, processors * on_each);
}

template <class T, Distribution kDistribution, int kDims>
void start(const Draw& work, const Box<Draw::kMaxDims>& merged, cudaStream_t stream) {
  Box<kDims> box{.first = merged.first};
  std::copy_n(merged.size + Draw::kMaxDims - kDims, kDims, box.size);
  std::copy_n(merged.stride + Draw::kMaxDims - kDims, kDims, box.stride);
  const int64_t blocks = blocks_for(draw_kernel<T, kDistribution, kDims>, work.n);
  to_index(blocks * kThreads, box.size, box.step);
  const Sequence sequence{work.state, work.scale, work.cut, work.low, 1 - 2 * work.low};
  draw_kernel<T, kDistribution><<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(
      static_cast<T*>(work.values), work.n, sequence, box);
}

template <class T, Distribution kDistribution>
void start(const Draw& work, cudaStream_t stream) {
  Box<Draw::kMaxDims> box;
  if (merge_dims(work, box) == 1)
    start<T, kDistribution, 1>(work, box, stream);
  else
    start<T, kDistribution, Draw::kMaxDims>(work, box, stream);
}

}  // namespace

void draw(const Draw& work, cudaStream_t stream) {
  check_box(work);
  if (work.n == 0) return;
  with_type(work.type, [&](auto t) {
    using T = decltype(t);
    switch (work.distribution) {
      case Distribution::kNormal:
        return start<T, Distribution::kNormal>(work, stream);
      case Distribution::kTruncatedNormal:
        return start<T, Distribution::kTruncatedNormal>(work, stream);
      case Distribution::kUniform:
        return start<T, Distribution::kUniform>(work, stream);
    }
  });
  check(cudaGetLastError(), "starting draw");
}

}  // namespace coeus::cuda
