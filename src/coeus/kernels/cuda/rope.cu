// A thread turns the same pairs of several heads of a token, so that it reads their angles once. It
// reads and writes 16 bytes at a time where addresses, strides and head_dim allow.
#include <algorithm>
#include <climits>
#include <stdexcept>

#include "coeus/kernels/cuda/check.h"
#include "coeus/kernels/cuda/rope.h"
#include "coeus/kernels/cuda/vectors.cuh"

namespace coeus::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kMostThreads = 512;
/// Bytes that a thread has under way.
constexpr int kBytesInFlight = 64;

/// What a thread takes of one head: kValues values, two of each pair.
template <class T, bool kHalves, bool kVector>
struct Piece {
  /// Interleaved pairs lie in one vector, the two values of halves in two.
  static constexpr int kPairs = !kVector ? 1 : kHalves ? kVectorSize<T> : kVectorSize<T> / 2;
  static constexpr int kVectors = kHalves ? 2 : 1;
  static constexpr int kHeads = kVector ? kBytesInFlight / (16 * kVectors) : 4;
};

/// Values of pairs, still as they lie in memory.
template <class T, bool kHalves, bool kVector>
struct Pairs {
  static constexpr int kPairs = Piece<T, kHalves, kVector>::kPairs;

  /// Pairs [first, first + kPairs) of a head.
  __device__ __forceinline__ void load(const T* head, int first, int head_dim) {
    if constexpr (!kVector) {
      one = head[kHalves ? first : 2 * first];
      other = head[kHalves ? first + head_dim / 2 : 2 * first + 1];
    } else if constexpr (kHalves) {
      vectors[0] = load_once(head + first);
      vectors[1] = load_once(head + first + head_dim / 2);
    } else {
      vectors[0] = load_once(head + 2 * first);
    }
  }

  __device__ __forceinline__ void turn_and_store(const float (&cosine)[kPairs],
                                                 const float (&sine)[kPairs], T* head, int first,
                                                 int head_dim) const {
    const auto turn = [&](int i, float& a, float& b) {
      const float turned = a * cosine[i] - b * sine[i];
      b = a * sine[i] + b * cosine[i];
      a = turned;
    };
    if constexpr (!kVector) {
      float a = as_float(one), b = as_float(other);
      turn(0, a, b);
      head[kHalves ? first : 2 * first] = rounded<T>(a);
      head[kHalves ? first + head_dim / 2 : 2 * first + 1] = rounded<T>(b);
    } else if constexpr (kHalves) {
      float a[kVectorSize<T>], b[kVectorSize<T>];
      unpack(vectors[0], a);
      unpack(vectors[1], b);
#pragma unroll
      for (int i = 0; i < kPairs; ++i) turn(i, a[i], b[i]);
      store(head + first, pack<T>(a));
      store(head + first + head_dim / 2, pack<T>(b));
    } else {
      float values[kVectorSize<T>];
      unpack(vectors[0], values);
#pragma unroll
      for (int i = 0; i < kPairs; ++i) turn(i, values[2 * i], values[2 * i + 1]);
      store(head + 2 * first, pack<T>(values));
    }
  }

  Vector<T> vectors[Piece<T, kHalves, kVector>::kVectors];
  T one, other;
};

/// How the threads of a block stand: `tokens` tokens, each of `lanes` threads for the pairs of a
/// head times groups[0] + groups[1] for the heads of the two tensors.
struct Layout {
  int lanes;
  int groups[2];
  int tokens;
};

template <class T, bool kHalves, bool kVector>
__global__ void __launch_bounds__(kMostThreads) rope_kernel(const Rope work, const Layout layout) {
  constexpr int kPairs = Piece<T, kHalves, kVector>::kPairs;
  constexpr int kHeads = Piece<T, kHalves, kVector>::kHeads;
  const int token_threads = layout.lanes * (layout.groups[0] + layout.groups[1]);
  // A token of more threads than a block has takes several turns.
  const int slot = static_cast<int>(threadIdx.x) / token_threads;
  const int64_t token = int64_t{blockIdx.x} * layout.tokens + slot;
  if (token >= work.tokens || slot >= layout.tokens) return;
  for (int thread = static_cast<int>(threadIdx.x) - slot * token_threads; thread < token_threads;
       thread += static_cast<int>(blockDim.x)) {
    const int first = thread % layout.lanes * kPairs;
    const int group = thread / layout.lanes;
    // Not an index into tensors: that would put the parameters into local memory.
    const bool second = group >= layout.groups[0];
    const RopeTensor tensor = second ? work.tensors[1] : work.tensors[0];
    const int stride = second ? layout.groups[1] : layout.groups[0];
    const int head = second ? group - layout.groups[0] : group;
    const T* const x = static_cast<const T*>(tensor.x) + token * tensor.x_token_stride;
    T* const out = static_cast<T*>(tensor.out) + token * tensor.out_token_stride;

    Pairs<T, kHalves, kVector> pairs[kHeads];
#pragma unroll
    for (int h = 0; h < kHeads; ++h)
      if (head + h * stride < tensor.heads)
        pairs[h].load(x + (head + h * stride) * tensor.x_head_stride, first, work.head_dim);

    float cosine[kPairs], sine[kPairs];
    const int position = work.positions[token];
    if (position >= 0 && position < work.table_positions) {
      const float* const angles = work.table + int64_t{position} * work.head_dim + 2 * first;
#pragma unroll
      for (int i = 0; i < kPairs; i += 2) {
        if constexpr (kPairs == 1) {
          const float2 angle = *reinterpret_cast<const float2*>(angles);
          cosine[0] = angle.x;
          sine[0] = work.sign * angle.y;
        } else {
          const float4 two = *reinterpret_cast<const float4*>(angles + 2 * i);
          cosine[i] = two.x;
          sine[i] = work.sign * two.y;
          cosine[i + 1] = two.z;
          sine[i + 1] = work.sign * two.w;
        }
      }
    } else {
#pragma unroll
      for (int i = 0; i < kPairs; ++i) cosine[i] = sine[i] = NAN;
      if (work.bad_position != nullptr) *work.bad_position = 1;
    }
#pragma unroll
    for (int h = 0; h < kHeads; ++h)
      if (head + h * stride < tensor.heads)
        pairs[h].turn_and_store(cosine, sine, out + (head + h * stride) * tensor.out_head_stride,
                                first, work.head_dim);
  }
}

bool takes_vectors(const Rope& work) {
  const int64_t bytes = size_of(work.type);
  if ((work.halves ? work.head_dim / 2 : work.head_dim) * bytes % 16 != 0) return false;
  if (!aligned_to_vectors(work.table)) return false;
  return std::all_of(std::begin(work.tensors), std::end(work.tensors), [&](const RopeTensor& t) {
    return t.heads == 0 ||
           (aligned_to_vectors(t.x, t.out) && t.x_token_stride * bytes % 16 == 0 &&
            t.x_head_stride * bytes % 16 == 0 && t.out_token_stride * bytes % 16 == 0 &&
            t.out_head_stride * bytes % 16 == 0);
  });
}

template <class T, bool kHalves, bool kVector>
void start(const Rope& work, cudaStream_t stream) {
  using Kind = Piece<T, kHalves, kVector>;
  Layout layout;
  layout.lanes = work.head_dim / 2 / Kind::kPairs;
  for (int i = 0; i < 2; ++i)
    layout.groups[i] = (work.tensors[i].heads + Kind::kHeads - 1) / Kind::kHeads;
  const int64_t token_threads = int64_t{layout.lanes} * (layout.groups[0] + layout.groups[1]);
  if (token_threads == 0) return;
  if (token_threads > INT_MAX / 2)
    throw std::runtime_error("rope takes no token of that many heads");
  layout.tokens = static_cast<int>(std::max<int64_t>(1, kThreads / token_threads));
  const int threads =
      token_threads > kMostThreads ? kThreads : layout.tokens * static_cast<int>(token_threads);
  const int64_t blocks = (work.tokens + layout.tokens - 1) / layout.tokens;
  if (blocks > INT_MAX) throw std::runtime_error("rope takes fewer than 2^31 blocks of tokens");
  rope_kernel<T, kHalves, kVector>
      <<<static_cast<unsigned>(blocks), threads, 0, stream>>>(work, layout);
}

}  // namespace

void rope(const Rope& work, cudaStream_t stream) {
  if (work.head_dim % 2 != 0) throw std::runtime_error("rope takes an even head_dim");
  if (work.tokens == 0) return;
  const bool vectors = takes_vectors(work);
  with_type(work.type, [&](auto t) {
    using T = decltype(t);
    if (work.halves)
      vectors ? start<T, true, true>(work, stream) : start<T, true, false>(work, stream);
    else
      vectors ? start<T, false, true>(work, stream) : start<T, false, false>(work, stream);
  });
  check(cudaGetLastError(), "starting rope");
}

}  // namespace coeus::cuda
