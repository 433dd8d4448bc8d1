// Block-sparse flash attention on NVIDIA GPUs: plain pointers, a mask on the device and a stream.
// Kernels for Hopper (attention_forward.cu, attention_backward.cu; FlashAttention-3: Shah et al.,
// arXiv 2407.08608) and plain ones for every GPU and type (attention_plain.cu), which are also the
// fast ones' reference.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "coeus/kernels/cuda/element_type.h"

namespace coeus::cuda {

/// Queries and keys of one tile of a mask on the device.
constexpr int kMaskTile = 128;
/// Words of 32 bits that a row of a partial tile takes.
constexpr int kMaskWords = kMaskTile / 32;

/// For each tile of one side, tile t of distinct row r standing at r * tiles + t, the tiles of the
/// other side that attention visits: its partial tiles and ranges of its full ones.
struct DeviceTileLists {
  /// [work_count] (row of the batch, tile): all tiles of all rows, those that visit most first.
  const int2* work = nullptr;
  const int32_t* partial_offsets = nullptr;  ///< [distinct rows * tiles + 1]
  const int2* partial = nullptr;             ///< (tile of the other side, entry of its bits)
  const int32_t* full_offsets = nullptr;     ///< [distinct rows * tiles + 1]
  const int2* full = nullptr;                ///< [begin, end) in tiles of the other side
  /// Bit j % 32 of word (entry * kMaskTile + i) * kMaskWords + j / 32: whether token i of the tile
  /// of this side and token j of that of the other see each other. 0 past a row's ends.
  const uint32_t* bits = nullptr;
  // Only by key, and null unless MaskImage was asked for turns. A visit's turn is how many tiles
  // before this one in `work`, of the same row of the batch, visit the same tile of queries.
  const int32_t* partial_turns = nullptr;      ///< of each entry of `partial`
  const int32_t* full_turn_offsets = nullptr;  ///< of each entry of `full`, into
  const int32_t* full_turns = nullptr;         ///< those of its tiles one after another
  int tiles = 0;
  int work_count = 0;
};

/// A lowered mask on the device, for all rows of a batch. A tile that reaches over the end of the
/// keys is partial, whatever it hides.
struct DeviceMask {
  DeviceTileLists by_query;
  DeviceTileLists by_key;
  const int32_t* distinct_row = nullptr;  ///< [batch], the number of a row among distinct ones
};

/// [batch, tokens, heads, dim] with dim contiguous; strides count elements.
struct AttentionTensor {
  void* data = nullptr;
  int64_t row_stride = 0;
  int64_t token_stride = 0;
  int64_t head_stride = 0;
};

struct AttentionShape {
  int batch = 0;
  int queries = 0;
  int keys = 0;
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;   ///< of q and k
  int value_dim = 0;  ///< of v and out
  /// Queries that the padded arrays hold for a head.
  int64_t padded_queries() const {
    return (int64_t{queries} + kMaskTile - 1) / kMaskTile * kMaskTile;
  }
};

struct AttentionForward {
  AttentionShape shape;
  ElementType type = ElementType::kBFloat16;
  float scale = 0;  ///< what scores are multiplied by
  DeviceMask mask;
  AttentionTensor q, k, v, out;
  float* lse = nullptr;    ///< [batch, heads, queries], -inf where a query sees nothing
  int* counter = nullptr;  ///< one int of scratch
};

struct AttentionBackward {
  AttentionShape shape;
  ElementType type = ElementType::kBFloat16;
  float scale = 0;
  DeviceMask mask;
  AttentionTensor q, k, v, out, grad_out;
  const float* lse = nullptr;  ///< [batch, heads, queries]
  AttentionTensor grad_q, grad_k, grad_v;
  /// hopper_backward_scratch_bytes or plain_backward_scratch_bytes, aligned to 256.
  void* scratch = nullptr;
  /// Whether the gradients of queries are to have the same bits in every run too; of the Hopper
  /// kernel, for which the mask must have turns. The others have them anyway.
  bool deterministic = false;
};

/// Whether the Hopper kernels take this: compute capability 9, bfloat16 or float16, dims that are
/// multiples of 8 up to 256 (backward: up to 128, or 192 with values of 128), value_dim <=
/// head_dim, and tensors whose addresses and strides are multiples of 16 bytes.
bool hopper_takes(const AttentionForward& work);
bool hopper_takes(const AttentionBackward& work);

/// Start the work on a stream; they return at once. Throw std::runtime_error where CUDA reports an
/// error.
void hopper_forward(const AttentionForward& work, cudaStream_t stream);
void hopper_backward(const AttentionBackward& work, cudaStream_t stream);
int64_t hopper_backward_scratch_bytes(const AttentionShape& shape);

/// The same for every type, dims from 1 to 256, any strides and every GPU: float32 throughout, no
/// matrix units and no atomics, so that results are the same in every run. A block of threads has
/// 64 queries of a head, or 64 keys of a key head.
void plain_forward(const AttentionForward& work, cudaStream_t stream);
void plain_backward(const AttentionBackward& work, cudaStream_t stream);
int64_t plain_backward_scratch_bytes(const AttentionShape& shape);

}  // namespace coeus::cuda
