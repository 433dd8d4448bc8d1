// The edges of the block-sparse kernels: sizes that fit no tile, block, chunk or vector.
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/types.h>
#include <torch/utils.h>

#include "coeus/mask/lower.h"
#include "coeus/mask/mask.h"
#include "coeus/ops/attention.h"

namespace coeus {
namespace {

struct Shape {
  std::string mask;
  std::vector<int64_t> documents;
  int64_t tile_q;
  int64_t tile_k;
  int64_t heads;
  int64_t kv_heads;
  int64_t head_dim;
  int64_t value_dim;
  double scale = 0.3;
};

void PrintTo(const Shape& s, std::ostream* to) {
  *to << s.mask << ", tiles " << s.tile_q << " x " << s.tile_k << ", heads " << s.heads << "/"
      << s.kv_heads << ", dims " << s.head_dim << "/" << s.value_dim << ", scale " << s.scale;
}

using Engine = at::Tensor (*)(const at::Tensor&, const at::Tensor&, const at::Tensor&,
                              const BlockMask&, double);

/// The output and the gradients of q, k and v for the same draws of them.
std::vector<at::Tensor> run(Engine engine, const Shape& shape, at::ScalarType dtype,
                            at::ScalarType drawn_in) {
  const SequenceLayout layout = SequenceLayout::from_document_lengths(shape.documents);
  const BlockMask mask = lower(parse_mask(shape.mask), std::vector{layout, layout},
                               {.tile_q = shape.tile_q, .tile_k = shape.tile_k});
  torch::manual_seed(1);
  const auto draw = [&](int64_t heads, int64_t dim) {
    return at::randn({2, mask.query_length(), heads, dim}, at::kDouble).to(drawn_in).to(dtype);
  };
  const at::Tensor q = draw(shape.heads, shape.head_dim).requires_grad_();
  const at::Tensor k = draw(shape.kv_heads, shape.head_dim).requires_grad_();
  const at::Tensor v = draw(shape.kv_heads, shape.value_dim).requires_grad_();
  const at::Tensor grad = draw(shape.heads, shape.value_dim);
  const at::Tensor out = engine(q, k, v, mask, shape.scale);
  std::vector<at::Tensor> results = torch::autograd::grad({out}, {q, k, v}, {grad});
  results.push_back(out.detach());
  return results;
}

class BlockSparseEdges : public testing::TestWithParam<Shape> {
 protected:
  /// The largest difference from the reference in float64, as a share of the largest value.
  static void expect_near(at::ScalarType dtype, double tolerance) {
    const auto own = run(attention_block_sparse, GetParam(), dtype, dtype);
    const auto expected = run(attention_reference, GetParam(), at::kDouble, dtype);
    for (size_t i = 0; i < own.size(); ++i) {
      const double difference = (own[i].to(at::kDouble) - expected[i]).abs().max().item<double>();
      EXPECT_LE(difference, tolerance * (1 + expected[i].abs().max().item<double>()))
          << c10::toString(dtype) << " result " << i;
    }
  }
};

TEST_P(BlockSparseEdges, AgreeWithTheReference) {
  expect_near(at::kDouble, 1e-12);
  expect_near(at::kFloat, 1e-5);
  expect_near(at::kBFloat16, 3e-2);
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, BlockSparseEdges,
    testing::Values(Shape{"causal", {130}, 100, 100, 2, 1, 16, 16},
                    Shape{"causal & document", {37, 1, 90}, 1, 1, 2, 2, 8, 8},
                    Shape{"causal & document", {37, 1, 90}, 4096, 4096, 2, 1, 24, 40},
                    Shape{"sliding_window(9)", {101}, 33, 65, 4, 2, 1, 1},
                    Shape{"dilated(3) & causal", {203}, 96, 100, 1, 1, 8, 17},
                    Shape{"causal & (sink(3) | sliding_window(20, 2) | dilated(7))",
                          {64, 66},
                          70,
                          130,
                          3,
                          3,
                          32,
                          33},
                    Shape{"document & ~causal", {65, 64, 63}, 128, 64, 6, 2, 192, 128},
                    Shape{
                        "chunk(50) & causal & ~sliding_window(3)", {150}, 64, 256, 2, 2, 256, 256},
                    Shape{"causal", {65}, 64, 64, 2, 1, 16, 16, -0.7},
                    Shape{"full", {65}, 64, 64, 2, 1, 16, 16, 0.0}));

/// Many heads that share their keys have these packed ahead, one head alone packs them on the way.
TEST(BlockSparse, PackingAheadAndOnTheWayGiveTheSameBits) {
  const SequenceLayout layout =
      SequenceLayout::from_document_lengths(std::vector<int64_t>{300, 5, 720});
  for (const char* text : {"causal & document", "causal & (sink(3) | sliding_window(200))"}) {
    const BlockMask mask =
        lower(parse_mask(text), std::vector{layout}, {.tile_q = 64, .tile_k = 64});
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      torch::manual_seed(1);
      const auto draw = [&](int64_t heads) {
        return at::randn({1, 1025, heads, 24}, at::kDouble).to(dtype);
      };
      const at::Tensor q = draw(8), k = draw(1), v = draw(1);
      const at::Tensor shared = attention_block_sparse(q, k, v, mask, 0.3);
      for (int64_t head = 0; head < 8; ++head) {
        const at::Tensor alone =
            attention_block_sparse(q.slice(2, head, head + 1), k, v, mask, 0.3);
        EXPECT_TRUE(at::equal(alone, shared.slice(2, head, head + 1)))
            << text << " " << c10::toString(dtype) << " head " << head;
      }
    }
  }
}

}  // namespace
}  // namespace coeus
