// What each attention engine would cost: the model behind attention.engine = "auto".
#pragma once

#include <cstdint>
#include <optional>

#include "coeus/mask/block_mask.h"

namespace coeus {

/// The number format an engine multiplies in.
enum class AttentionNumber { kFloat32, kBFloat16, kOther };

/// What attention has to do for one layer, besides the mask. Sizes as in attention.h.
struct AttentionWork {
  int64_t heads = 1;
  int64_t kv_heads = 1;
  int64_t head_dim = 1;
  int64_t value_dim = 1;
  AttentionNumber number = AttentionNumber::kFloat32;
  /// Cores that share the work.
  int64_t threads = 1;
};

/// Estimated nanoseconds of forward and backward together. They are compared with one another, so
/// their ratios must be right, not their sizes. From the mask's exact figures: its area, tiles and
/// runs of tokens.
double reference_nanoseconds(const AttentionWork& work, const BlockMask& mask);
double block_sparse_nanoseconds(const AttentionWork& work, const BlockMask& mask);
/// Nothing when a row of the mask is no list of dense runs (BlockMask::segments).
std::optional<double> sdpa_nanoseconds(const AttentionWork& work, const BlockMask& mask);

/// Forward and backward of plain causal attention on a GPU: how long own kernels for Hopper take,
/// in units of what LibTorch's cuDNN takes, by the nearest measured shape (docs/benchmarks.md, "On
/// one H200").
double own_time_over_cudnn(const AttentionWork& work);

}  // namespace coeus
