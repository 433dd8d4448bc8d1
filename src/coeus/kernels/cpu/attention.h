// Block-sparse flash attention on the CPU: one tile of queries forward, a range of key tiles
// backward. Plain pointers, one thread's share of the work a call (FlashAttention-2: Dao, arXiv
// 2307.08691; the tiles and their masks are those of a lowered row, mask/block_mask.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "coeus/kernels/bfloat16.h"
#include "coeus/mask/block_mask.h"

namespace coeus {

/// What attention on elements of type T accumulates in: double for double, else float.
template <class T>
using AttentionCompute = std::conditional_t<std::is_same_v<T, double>, double, float>;

/// So many first bytes of forward's scratch are to be zeros before its first call.
constexpr int64_t kForwardScratchZeros = 64;

/// One head of one row of a batch: tokens of a head lie `stride` elements apart.
template <class T>
struct AttentionOperand {
  T* data = nullptr;
  int64_t stride = 0;

  AttentionOperand from(int64_t token) const { return {data + token * stride, stride}; }
};

/// Queries of one tile of one head against the keys that they see. Keys and values are packed
/// before they are multiplied: all of a head beforehand, where many tiles of queries see each of
/// them, or on the way, tile by tile.
template <class T>
struct AttentionForward {
  using C = AttentionCompute<T>;
  const BlockMaskRow* mask = nullptr;
  int64_t query_tile = 0;
  /// The tile that the next call is for, all else being the same: it is fetched from memory
  /// meanwhile. -1: there is none.
  int64_t next_query_tile = -1;
  int64_t head_dim = 0;
  int64_t value_dim = 0;
  C scale = 0;                          ///< what scores are multiplied by
  AttentionOperand<const T> q;          ///< [queries, head_dim]
  AttentionOperand<const T> k;          ///< [keys, head_dim]
  AttentionOperand<const T> v;          ///< [keys, value_dim]
  const std::byte* packed_k = nullptr;  ///< the whole of k, packed; null: on the way
  const std::byte* packed_v = nullptr;
  AttentionOperand<T> out;  ///< [queries, value_dim]; zeros for a query that sees nothing
  C* lse = nullptr;         ///< [queries], log of the sum of exponentials, or -inf
  /// forward_scratch_bytes, aligned to 64. Calls that use it in turn find there what those before
  /// them packed, of the head of the same `key_head`, a number of the
  /// caller's for each k and v.
  std::byte* scratch = nullptr;
  int64_t key_head = 0;
};

/// Key tiles [key_tile_begin, key_tile_end) of one key head against the `heads` query heads that
/// share it.
template <class T>
struct AttentionBackward {
  using C = AttentionCompute<T>;
  const BlockMaskRow* mask = nullptr;
  int64_t key_tile_begin = 0;
  int64_t key_tile_end = 0;
  int64_t heads = 0;
  int64_t head_dim = 0;
  int64_t value_dim = 0;
  C scale = 0;
  AttentionOperand<const T> q;         ///< of the first head; head h is head_dim further
  AttentionOperand<const T> k;         ///< [keys, head_dim]
  AttentionOperand<const T> v;         ///< [keys, value_dim]
  AttentionOperand<const T> out;       ///< of the first head; head h is value_dim further
  AttentionOperand<const T> grad_out;  ///< likewise
  const C* lse = nullptr;              ///< [heads, queries]
  AttentionOperand<C> grad_q;          ///< of the first head: what these key tiles add, written
  AttentionOperand<T> grad_k;          ///< written for the keys of the tiles
  AttentionOperand<T> grad_v;
  std::byte* scratch = nullptr;  ///< backward_scratch_bytes, aligned to 64
};

/// The kernels of one element type: float, BFloat16 (accumulated in float) or double.
template <class T>
struct CpuAttentionKernels {
  /// Keys or values [rows, dim] in the form that forward's products read, in packed_bytes(rows,
  /// dim) of memory aligned to 64 bytes.
  int64_t (*packed_bytes)(int64_t rows, int64_t dim);
  void (*pack_keys)(AttentionOperand<const T> x, int64_t rows, int64_t dim, std::byte* packed);
  void (*pack_values)(AttentionOperand<const T> x, int64_t rows, int64_t dim, std::byte* packed);
  int64_t (*forward_scratch_bytes)(const BlockMaskRow& mask, int64_t head_dim, int64_t value_dim);
  void (*forward)(const AttentionForward<T>& work);
  /// What `backward` works in, for rows of these lengths: memory that calls may use in turn, since
  /// fresh pages cost as much as a sparse row's arithmetic.
  int64_t (*backward_scratch_bytes)(const BlockMaskRow& mask, int64_t head_dim, int64_t value_dim);
  void (*backward)(const AttentionBackward<T>& work);
};

/// The kernels for this CPU.
template <class T>
const CpuAttentionKernels<T>& cpu_attention_kernels();

}  // namespace coeus
