#include "coeus/ops/attention_cost.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace coeus {

namespace {

/// How fast an engine is, as bench/attention measured it (docs/benchmarks.md). One core; `gflops`
/// counts two operations a multiplied pair, over the pairs that the engine visits, forward and
/// backward together.
struct EngineRate {
  double gflops_float32;
  double gflops_bfloat16;
  double gflops_other;
  /// Fixed cost of one unit of work, forward and backward: of a call for sdpa, of a visited tile
  /// and head for block_sparse.
  double unit_nanoseconds;

  double gflops(AttentionNumber number) const {
    switch (number) {
      case AttentionNumber::kFloat32:
        return gflops_float32;
      case AttentionNumber::kBFloat16:
        return gflops_bfloat16;
      case AttentionNumber::kOther:
        return gflops_other;
    }
    return gflops_other;
  }
};

constexpr EngineRate kReferenceRate = {15, 15, 8, 0};
constexpr EngineRate kSdpaRate = {76, 102, 30, 1'000'000};
constexpr EngineRate kBlockSparseRate = {99, 171, 40, 1'000};
/// Nanoseconds that block_sparse takes to bring a value of q, k or v and its gradient into its own
/// order and back.
constexpr double kPackedValueNanoseconds = 5.5;
/// Queries that block_sparse computes side by side: fewer cost as much.
constexpr int64_t kQueriesAtOnce = 16;
/// A partial tile against a full one: part of it is skipped, the rest masked.
constexpr double kPartialTileShare = 1.0;
/// Queries that LibTorch's flash attention takes at once: below the diagonal it wastes half.
constexpr int64_t kSdpaQueryBlock = 128;
/// Nanoseconds a value of the copies of K and V that sdpa needs when heads share them, with the
/// sum of their gradients.
constexpr double kSharedHeadNanoseconds = 2.0;

/// Backward takes five products to forward's two.
constexpr double kForwardAndBackward = 3.5;

double product_nanoseconds(const AttentionWork& work, double pairs, const EngineRate& rate) {
  const auto width = static_cast<double>(work.head_dim + work.value_dim);
  return kForwardAndBackward * 2 * pairs * static_cast<double>(work.heads) * width /
         (rate.gflops(work.number) * static_cast<double>(work.threads));
}

/// Rows of one shared lowering cost alike: calls f(first row, how many) for each run of them.
template <class F>
void for_runs_of_rows(const BlockMask& mask, F f) {
  for (int64_t row = 0; row < mask.batch_size();) {
    int64_t end = row + 1;
    while (end < mask.batch_size() && mask.shared_row(end) == mask.shared_row(row)) ++end;
    f(row, end - row);
    row = end;
  }
}

}  // namespace

double reference_nanoseconds(const AttentionWork& work, const BlockMask& mask) {
  const double pairs = static_cast<double>(mask.batch_size()) *
                       static_cast<double>(mask.query_length()) *
                       static_cast<double>(mask.key_length());
  return product_nanoseconds(work, pairs, kReferenceRate);
}

double block_sparse_nanoseconds(const AttentionWork& work, const BlockMask& mask) {
  const TileCounts tiles = mask.tile_counts();
  const double visited =
      static_cast<double>(tiles.full) + kPartialTileShare * static_cast<double>(tiles.partial);
  // A row shorter than a tile does not pay for a whole one.
  const int64_t columns =
      (std::min(mask.tile_q(), mask.query_length()) + kQueriesAtOnce - 1) / kQueriesAtOnce;
  const auto tile =
      static_cast<double>(columns * kQueriesAtOnce * std::min(mask.tile_k(), mask.key_length()));
  const auto values =
      static_cast<double>(mask.batch_size() * (work.head_dim + work.value_dim) *
                          (mask.query_length() * work.heads + mask.key_length() * work.kv_heads));
  const double units = static_cast<double>((tiles.full + tiles.partial) * work.heads) /
                       static_cast<double>(work.threads);
  return product_nanoseconds(work, visited * tile, kBlockSparseRate) +
         units * kBlockSparseRate.unit_nanoseconds +
         values * kPackedValueNanoseconds / static_cast<double>(work.threads);
}

std::optional<double> sdpa_nanoseconds(const AttentionWork& work, const BlockMask& mask) {
  double pairs = 0;
  double calls = 0;
  bool possible = true;
  for_runs_of_rows(mask, [&](int64_t row, int64_t count) {
    const auto segments = mask.segments(row);
    possible = possible && segments.has_value();
    if (!possible) return;
    for (const Segment& segment : *segments) {
      const auto queries = static_cast<double>(segment.query_end - segment.query_begin);
      const auto keys = static_cast<double>(segment.key_end - segment.key_begin);
      const double wasted = std::min<double>(kSdpaQueryBlock, keys);
      pairs += static_cast<double>(count) * queries * (segment.causal ? (keys + wasted) / 2 : keys);
      calls += keys > 0 ? 1 : 0;
    }
  });
  if (!possible) return std::nullopt;
  double nanoseconds =
      product_nanoseconds(work, pairs, kSdpaRate) + calls * kSdpaRate.unit_nanoseconds;
  if (work.kv_heads != work.heads)
    nanoseconds += kSharedHeadNanoseconds *
                   static_cast<double>(mask.batch_size() * mask.key_length() * work.heads *
                                       (work.head_dim + work.value_dim)) /
                   static_cast<double>(work.threads);
  return nanoseconds;
}

double own_time_over_cudnn(const AttentionWork& work) {
  /// TFLOP/s at 8,192 tokens, both in one run on an H200.
  struct Rates {
    double forward, backward;
    /// Of backward's 2.5 times as many operations too.
    double time() const { return 1 / forward + 2.5 / backward; }
  };
  struct Measured {
    int64_t head_dim, shared;  ///< query heads a key head
    Rates own, cudnn;
  };
  static constexpr std::array<Measured, 4> kMeasured = {{
      {64, 1, {377, 415}, {416, 364}},
      {128, 4, {673, 521}, {596, 475}},
      {128, 8, {675, 449}, {609, 479}},
      {192, 1, {611, 456}, {498, 392}},
  }};
  const auto distance = [&](const Measured& m) {
    return 10 * std::abs(std::log2(static_cast<double>(work.head_dim) /
                                   static_cast<double>(m.head_dim))) +
           std::abs(std::log2(static_cast<double>(work.heads) /
                              static_cast<double>(work.kv_heads * m.shared)));
  };
  const auto nearest = std::min_element(
      kMeasured.begin(), kMeasured.end(),
      [&](const Measured& a, const Measured& b) { return distance(a) < distance(b); });
  return nearest->own.time() / nearest->cudnn.time();
}

}  // namespace coeus
