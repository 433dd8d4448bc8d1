#pragma once

#include <ATen/core/Tensor.h>

namespace coeus {

/// Which two values of a head turn together, pair i of table[p, i].
enum class RopePairs {
  kInterleaved,  ///< 2i and 2i + 1, as Llama's and DeepSeek's own code have it
  kHalves,       ///< i and i + head_dim / 2, as Qwen's and GPT-NeoX's have it
};

/// Rotary position embedding (Su et al., arXiv 2104.09864): pair i of a head at position p turns by
/// the angle of table[p, i]. x: [batch, seq, heads, head_dim] of any float dtype (rotated in
/// float32, returned in x's dtype); table: float32 [positions, head_dim / 2, 2] of (cos, sin);
/// positions: int32 [batch, seq]. Throws Error when shapes disagree or a position lies outside the
/// table.
at::Tensor rope(const at::Tensor& x, const at::Tensor& table, const at::Tensor& positions,
                RopePairs pairs = RopePairs::kInterleaved);

/// The same by plain tensor operations: what `rope` is tested against.
at::Tensor rope_reference(const at::Tensor& x, const at::Tensor& table, const at::Tensor& positions,
                          RopePairs pairs = RopePairs::kInterleaved);

}  // namespace coeus
