// Every engine, forward and backward, against dense attention in double precision. The rule is that
// of FlexAttention's tests: the mean error may be 1.1 times that of the dense computation in the
// same low precision, 10 times in float32. COEUS_ATTENTION_GRID=full runs the whole grid;
// COEUS_TEST_DEVICE=cuda computes on a GPU what this computes on the CPU.
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <array>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <random>
#include <string>

#include "coeus/mask/lower.h"
#include "coeus/mask/select.h"
#include "coeus/ops/attention.h"
#include "coeus/ops/test_device.h"

namespace coeus {
namespace {

std::vector<AttentionEngine> engines() {
  return {AttentionEngine::kReference, AttentionEngine::kSdpa, AttentionEngine::kBlockSparse};
}

struct Heads {
  int64_t queries;
  int64_t keys;
};
/// MHA, GQA 4 and MQA.
constexpr std::array<Heads, 3> kHeads = {{{2, 2}, {8, 2}, {3, 1}}};

struct Dims {
  int64_t key;
  int64_t value;
};
constexpr std::array<Dims, 5> kDims = {{{16, 16}, {64, 64}, {128, 128}, {192, 128}, {256, 256}}};
constexpr std::array<int64_t, 8> kLengths = {1, 7, 127, 128, 129, 239, 799, 1024};
/// The CPU's kernels know double, those of a GPU float16.
std::array<at::ScalarType, 3> dtypes() {
  return {at::kFloat, at::kBFloat16, test_device().is_cpu() ? at::kDouble : at::kHalf};
}

/// Attention's inputs and the gradient of its output, in double.
struct Problem {
  BlockMask mask;
  at::Tensor q, k, v, grad_out;

  Problem(BlockMask lowered, Heads heads, Dims dims, int64_t seed) : mask(std::move(lowered)) {
    torch::manual_seed(static_cast<uint64_t>(seed));
    const auto draw = [&](int64_t length, int64_t count, int64_t dim) {
      return at::randn({mask.batch_size(), length, count, dim}, at::kDouble);
    };
    q = draw(mask.query_length(), heads.queries, dims.key);
    k = draw(mask.key_length(), heads.keys, dims.key);
    v = draw(mask.key_length(), heads.keys, dims.value);
    grad_out = draw(mask.query_length(), heads.queries, dims.value);
  }

  /// Rounds the inputs, so that every precision computes the same thing.
  void round_to(at::ScalarType dtype) {
    for (at::Tensor* x : {&q, &k, &v, &grad_out}) *x = x->to(dtype).to(at::kDouble);
  }
};

constexpr std::array kNames = {"output", "grad_q", "grad_k", "grad_v"};
using Result = std::array<at::Tensor, 4>;

/// `compute`'s output and gradients in the given precision.
template <class Compute>
Result run(const Problem& problem, at::ScalarType dtype, Compute compute) {
  std::array<at::Tensor, 3> inputs;
  const std::array wide = {problem.q, problem.k, problem.v};
  for (size_t i = 0; i < 3; ++i)
    inputs[i] = wide[i].to(dtype, /*non_blocking=*/false, /*copy=*/true).requires_grad_();
  const at::Tensor out = compute(inputs[0], inputs[1], inputs[2]);
  const auto grads =
      torch::autograd::grad({out}, {inputs[0], inputs[1], inputs[2]}, {problem.grad_out.to(dtype)});
  return {out.detach(), grads[0], grads[1], grads[2]};
}

Result run(const Problem& problem, at::ScalarType dtype, AttentionEngine engine) {
  const at::Device device = test_device();
  return run(problem, dtype, [&](const auto& q, const auto& k, const auto& v) {
    return attention(q.to(device), k.to(device), v.to(device), problem.mask, {.engine = engine})
        .to(at::kCPU);
  });
}

/// [batch, 1, queries, keys], true where hidden: from the mask's elements.
at::Tensor hidden_of(const BlockMask& mask) {
  at::Tensor hidden =
      at::empty({mask.batch_size(), 1, mask.query_length(), mask.key_length()}, at::kBool);
  for (int64_t row = 0; row < mask.batch_size(); ++row) {
    const std::vector<uint8_t> visible = mask.to_dense(row);
    auto* const to = hidden.select(0, row).data_ptr<bool>();
    for (size_t i = 0; i < visible.size(); ++i) to[i] = visible[i] == 0;
  }
  return hidden;
}

/// Dense attention with every step rounded to the inputs' dtype.
Result run_dense(const Problem& problem, at::ScalarType dtype) {
  const at::Tensor hidden = hidden_of(problem.mask);
  const at::Tensor blind = hidden.all(-1, /*keepdim=*/true);
  return run(problem, dtype, [&](const auto& q, const auto& k, const auto& v) {
    const int64_t shared = q.size(2) / k.size(2);
    const auto by_head = [&](const at::Tensor& x) {
      return x.repeat_interleave(shared, 2).transpose(1, 2);
    };
    const at::Tensor scores = at::matmul(q.transpose(1, 2), by_head(k).transpose(-1, -2)) /
                              std::sqrt(static_cast<double>(q.size(3)));
    const at::Tensor weights =
        at::softmax(scores.masked_fill(hidden, -std::numeric_limits<double>::infinity()), -1);
    return at::matmul(weights.masked_fill(blind, 0.0), by_head(v)).transpose(1, 2);
  });
}

double mean_error(const at::Tensor& got, const at::Tensor& want) {
  return (got.to(at::kDouble) - want).abs().mean().item<double>();
}

bool is_done_by(AttentionEngine engine, const Problem& problem, at::ScalarType dtype) {
  if (engine != AttentionEngine::kSdpa) return true;
  // LibTorch's kernels for GPUs know only these.
  if (!test_device().is_cpu() && dtype != at::kBFloat16 && dtype != at::kHalf) return false;
  if (problem.q.size(3) != problem.v.size(3)) return false;
  for (int64_t row = 0; row < problem.mask.batch_size(); ++row)
    if (!problem.mask.segments(row)) return false;
  return true;
}

void expect_near(const Problem& problem, at::ScalarType dtype, const Result& got,
                 const Result& dense, const Result& exact, const std::string& label) {
  const double factor = dtype == at::kBFloat16 || dtype == at::kHalf ? 1.1 : 10;
  // Where dense attention happens to be exact, as with one token, an engine may still round.
  const double unit = dtype == at::kDouble ? 0x1p-52 : 0x1p-23;
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(got[i].scalar_type(), dtype) << label;
    ASSERT_EQ(got[i].sizes(), exact[i].sizes()) << label;
    const double rounding = 16 * unit * problem.grad_out.abs().max().item<double>();
    const double error = mean_error(got[i], exact[i]);
    const double bound = factor * mean_error(dense[i], exact[i]) + rounding;
    EXPECT_TRUE(error <= bound) << label << ", " << kNames[i] << ": mean error " << error
                                << ", bound " << bound;
  }
}

/// Runs every engine that can do the problem; each twice, for the same bits.
void expect_engines_are_near(Problem problem, at::ScalarType dtype, const std::string& label) {
  problem.round_to(dtype);
  const Result exact = run_dense(problem, at::kDouble);
  const Result dense = dtype == at::kDouble ? exact : run_dense(problem, dtype);
  for (const AttentionEngine engine : engines()) {
    if (!is_done_by(engine, problem, dtype)) continue;
    const std::string name = fmt::format("{} {}", name_of(engine), label);
    const Result got = run(problem, dtype, engine);
    expect_near(problem, dtype, got, dense, exact, name);
    if (problem.mask.query_length() > 300 && problem.q.size(3) > 64) continue;
    // LibTorch's flash attention adds gradients of queries on a GPU in no fixed order.
    if (engine == AttentionEngine::kSdpa && !test_device().is_cpu()) continue;
    const Result again = run(problem, dtype, engine);
    for (size_t i = 0; i < got.size(); ++i)
      EXPECT_TRUE(at::equal(got[i], again[i])) << name << ", " << kNames[i] << " changed";
  }
}

struct MaskCase {
  const char* name;
  const char* text;
};
constexpr std::array<MaskCase, 11> kMasks = {{
    {"full", "full"},
    {"causal", "causal"},
    {"documents", "causal & document"},
    {"documents_chunk", "causal & document & chunk(64)"},
    {"window", "sliding_window(100)"},
    {"window_both_ways", "document & sliding_window(40, 30)"},
    {"sink_window", "causal & document & (sink(4) | sliding_window(50))"},
    {"prefix", "document & (causal | prefix(33))"},
    {"bits", "sliding_window(90) & dilated(2)"},
    {"blind_queries", "causal & ~document"},
    {"nothing", "~full"},
}};

/// One row for long sequences, else two that differ in their documents; many of them for short
/// ones, so that the mean error is over enough values to mean something.
BlockMask lowered(const char* text, int64_t length) {
  const auto row = [&](std::vector<int64_t> documents) {
    int64_t rest = length;
    for (int64_t& document : documents) rest -= document = std::min(document, rest);
    documents.push_back(rest);
    return SequenceLayout::from_document_lengths(documents);
  };
  std::vector<SequenceLayout> rows = {row({3, 60, 1, 200})};
  if (length < 300) rows.push_back(row({100}));
  for (int i = 0; length < 10 && i < 62; ++i) rows.push_back(rows[i]);
  return lower(parse_mask(text), rows);
}

bool is_full_grid() {
  const char* const grid = std::getenv("COEUS_ATTENTION_GRID");
  return grid != nullptr && std::string(grid) == "full";
}

class AttentionNumbers : public testing::TestWithParam<size_t> {};

TEST_P(AttentionNumbers, EveryEngineIsAsNearAsTheDenseComputation) {
  const size_t m = GetParam();
  for (size_t l = 0; l < kLengths.size(); ++l) {
    const BlockMask mask = lowered(kMasks[m].text, kLengths[l]);
    for (size_t h = 0; h < kHeads.size(); ++h) {
      for (size_t d = 0; d < kDims.size(); ++d) {
        for (size_t t = 0; t < dtypes().size(); ++t) {
          // Without the whole grid, every mask meets every length, and over the masks and lengths
          // every pair of the others' values comes by.
          const bool is_sampled =
              h == (m + l) % 3 && d == (m + 2 * l) % 5 && t == (m + l / 3 + m / 3) % 3;
          if (!is_sampled && !is_full_grid()) continue;
          const auto seed = static_cast<int64_t>(1 + m * 1000 + l * 100 + h * 30 + d * 5 + t);
          expect_engines_are_near(
              Problem(mask, kHeads[h], kDims[d], seed), dtypes()[t],
              fmt::format("{}, length {}, heads {}/{}, dims {}/{}, {}", kMasks[m].text, kLengths[l],
                          kHeads[h].queries, kHeads[h].keys, kDims[d].key, kDims[d].value,
                          c10::toString(dtypes()[t])));
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Masks, AttentionNumbers, testing::Range<size_t>(0, kMasks.size()),
                         [](const auto& info) { return std::string(kMasks[info.param].name); });

/// A rank's share of a row: queries in pieces out of order, keys shuffled and some left out.
SequenceLayout shard(int64_t length, int64_t rank) {
  const auto whole =
      SequenceLayout::from_document_lengths(std::vector<int64_t>{length / 3, 5, length});
  std::vector<int64_t> queries;
  for (const int64_t piece : {5 - rank, rank})
    for (int64_t i = piece * length / 6; i < (piece + 1) * length / 6; ++i) queries.push_back(i);
  std::vector<int64_t> keys(static_cast<size_t>(length));
  for (int64_t i = 0; i < length; ++i) keys[i] = i;
  std::mt19937 random(static_cast<uint32_t>(rank));
  std::shuffle(keys.begin(), keys.end(), random);
  keys.resize(length - length / 5);
  return SequenceLayout(select(*whole.query(), queries), select(*whole.key(), keys));
}

TEST(AttentionLayouts, QueriesAndKeysMayDifferInNumberAndOrder) {
  for (const MaskCase& mask : kMasks) {
    for (const int64_t length : {60, 420}) {
      const BlockMask lowered =
          lower(parse_mask(mask.text), std::vector{shard(length, 0), shard(length, 2)},
                test_device().is_cpu() ? LowerOptions{64, 32} : LowerOptions{});
      for (const auto dtype : {at::kFloat, at::kBFloat16})
        expect_engines_are_near(
            Problem(lowered, {4, 2}, {24, 40}, length), dtype,
            fmt::format("{}, shards of {}, {}", mask.text, length, c10::toString(dtype)));
    }
  }
}

TEST(AttentionLayouts, AQueryAtTheEndOfACacheSeesItsKeys) {
  const auto whole = SequenceLayout::from_document_lengths(std::vector<int64_t>{50, 251});
  for (const int64_t first : {300, 297, 40}) {
    const BlockMask mask = lower(parse_mask("causal & document"),
                                 std::vector{select_queries(whole, first, whole.query_length())});
    expect_engines_are_near(Problem(mask, {4, 1}, {32, 32}, first), at::kFloat,
                            fmt::format("queries from {}", first));
  }
}

/// The gradients of sum(output * grad_out) by central differences.
std::array<at::Tensor, 3> slopes(const Problem& problem, AttentionEngine engine) {
  constexpr double kStep = 1e-5;
  const at::NoGradGuard no_grad;
  const std::array inputs = {problem.q, problem.k, problem.v};
  std::array<at::Tensor, 3> result;
  for (size_t i = 0; i < inputs.size(); ++i) {
    result[i] = at::empty_like(inputs[i]);
    for (int64_t j = 0; j < inputs[i].numel(); ++j) {
      const auto loss = [&](double step) {
        std::array moved = {problem.q.clone(), problem.k.clone(), problem.v.clone()};
        moved[i].view(-1)[j] += step;
        return (attention(moved[0], moved[1], moved[2], problem.mask, {.engine = engine}) *
                problem.grad_out)
            .sum()
            .item<double>();
      };
      result[i].view(-1)[j] = (loss(kStep) - loss(-kStep)) / (2 * kStep);
    }
  }
  return result;
}

TEST(AttentionGradients, AreTheSlopesOfTheOutput) {
  if (!test_device().is_cpu()) GTEST_SKIP() << "a GPU's kernels do not know double";
  const std::vector rows = {SequenceLayout::from_document_lengths(std::vector<int64_t>{2, 3, 1})};
  for (const char* text : {"causal", "causal & document", "sliding_window(3)", "causal & ~document",
                           "sliding_window(5, 2) & dilated(2)"}) {
    for (const Dims dims : {Dims{3, 2}, Dims{2, 2}}) {
      const Problem problem(lower(parse_mask(text), rows, {4, 4}), {4, 2}, dims, 11);
      for (const AttentionEngine engine : engines()) {
        if (!is_done_by(engine, problem, at::kDouble)) continue;
        const Result analytic = run(problem, at::kDouble, engine);
        const auto numeric = slopes(problem, engine);
        for (size_t i = 0; i < numeric.size(); ++i)
          EXPECT_LE((numeric[i] - analytic[i + 1]).abs().max().item<double>(), 1e-8)
              << name_of(engine) << ", " << text << ", " << kNames[i + 1];
      }
    }
  }
}

TEST(AttentionGradients, OfQueriesThatSeeNothingAreZero) {
  const BlockMask mask = lowered("causal & ~document", 239);
  for (const auto dtype : dtypes()) {
    for (const AttentionEngine engine : engines()) {
      const Problem problem(mask, {4, 2}, {32, 32}, 5);
      if (!is_done_by(engine, problem, dtype)) continue;
      const Result got = run(problem, dtype, engine);
      // The first documents, of 3 and of 100 tokens, have nothing before them.
      for (const auto& [row, blind] : {std::pair<int64_t, int64_t>{0, 3}, {1, 100}}) {
        for (const size_t i : {0, 1}) {
          EXPECT_EQ(got[i][row].slice(0, 0, blind).abs().max().item<double>(), 0) << kNames[i];
          EXPECT_GT(got[i][row].slice(0, blind).abs().max().item<double>(), 0) << kNames[i];
        }
        EXPECT_TRUE(got[2].isfinite().all().item<bool>());
        EXPECT_TRUE(got[3].isfinite().all().item<bool>());
      }
    }
  }
}

TEST(AttentionLogSumExp, IsThatOfTheVisibleScores) {
  for (const char* text : {"causal", "causal & ~document", "sliding_window(90) & dilated(2)"}) {
    const BlockMask mask = lowered(text, 129);
    Problem problem(mask, {4, 2}, {32, 16}, 9);
    problem.round_to(at::kBFloat16);
    const at::Tensor k = problem.k.repeat_interleave(2, 2);
    const at::Tensor want =
        (at::matmul(problem.q.transpose(1, 2), k.permute({0, 2, 3, 1})) * 0.3)
            .masked_fill(hidden_of(mask), -std::numeric_limits<double>::infinity())
            .logsumexp(-1);
    for (const auto dtype : dtypes()) {
      const auto on_device = [&](const at::Tensor& x) { return x.to(dtype).to(test_device()); };
      const auto [out, lse_on_device] = attention_block_sparse_with_lse(
          on_device(problem.q), on_device(problem.k), on_device(problem.v), mask, 0.3);
      const at::Tensor lse = lse_on_device.to(at::kCPU);
      EXPECT_EQ(out.scalar_type(), dtype);
      ASSERT_EQ(lse.scalar_type(), dtype == at::kDouble ? at::kDouble : at::kFloat);
      ASSERT_EQ(lse.sizes(), want.sizes());
      const double tolerance = dtype == at::kDouble ? 1e-13 : 1e-5;
      EXPECT_TRUE(at::allclose(lse.to(at::kDouble), want, tolerance, tolerance))
          << text << ", " << c10::toString(dtype);
    }
  }
}

}  // namespace
}  // namespace coeus
