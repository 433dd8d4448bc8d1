#include "coeus/parallel/context/context_attention.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "coeus/base/error.h"
#include "coeus/comm/test_ranks.h"
#include "coeus/mask/lower.h"
#include "coeus/parallel/context/select_tokens.h"

namespace coeus {
namespace {

using testing::HasSubstr;

constexpr ContextMethod kMethods[] = {ContextMethod::kAllGather, ContextMethod::kRing,
                                      ContextMethod::kAllToAll, ContextMethod::kNeeded};
constexpr Balancer kBalancers[] = {Balancer::kNone, Balancer::kHeadTail, Balancer::kPerDocument,
                                   Balancer::kPtrr, Balancer::kJoint};

/// Attention spread over ranks.
struct Case {
  std::string mask = "causal & document";
  std::vector<std::vector<int64_t>> documents = {{40, 24}};  ///< of each row
  int64_t ranks = 2;
  ContextMethod method = ContextMethod::kAllGather;
  Balancer balancer = Balancer::kJoint;
  double slack = 0;
  int64_t heads = 4, kv_heads = 2, key_dim = 8, value_dim = 8;
  AttentionEngine engine = AttentionEngine::kAuto;

  std::string text() const {
    std::string rows;
    for (const auto& lengths : documents) rows += fmt::format("{{{}}} ", fmt::join(lengths, ","));
    return fmt::format("mask \"{}\" documents {}ranks {} {} {} slack {} heads {}/{} dims {}/{} {}",
                       mask, rows, ranks, name_of(method), name_of(balancer), slack, heads,
                       kv_heads, key_dim, value_dim, name_of(engine));
  }
  std::vector<SequenceLayout> rows() const {
    std::vector<SequenceLayout> layouts;
    for (const auto& lengths : documents)
      layouts.push_back(SequenceLayout::from_document_lengths(lengths));
    return layouts;
  }
  ContextRowPlanner planner(int64_t rank) const {
    const ContextOptions options = {
        .ranks = ranks, .rank = rank, .balancer = balancer, .method = method, .slack = slack};
    return {options,
            [expression = parse_mask(mask)](std::span<const SequenceLayout> rows) {
              return AttentionMasks{{"mask", lower(expression, rows, {16, 16})}};
            },
            {{"mask", 1}}};
  }
};

struct Tensors {
  at::Tensor q, k, v, grad_out;
};

Tensors tensors_of(const Case& c) {
  const auto layouts = c.rows();
  const auto rows = static_cast<int64_t>(layouts.size());
  const int64_t tokens = layouts[0].query_length();
  const auto random = [&](int64_t heads, int64_t dim) {
    return at::randn({rows, tokens, heads, dim}, at::kDouble);
  };
  return {random(c.heads, c.key_dim), random(c.kv_heads, c.key_dim),
          random(c.kv_heads, c.value_dim), random(c.heads, c.value_dim)};
}

/// Output and gradients, in the order out, q, k, v.
using Results = std::vector<at::Tensor>;

template <class Attend>
Results results_of(const Tensors& x, Attend attend) {
  const auto leaf = [](const at::Tensor& t) { return t.detach().clone().requires_grad_(); };
  const at::Tensor q = leaf(x.q), k = leaf(x.k), v = leaf(x.v);
  const at::Tensor out = attend(q, k, v);
  out.backward(x.grad_out);
  return {out.detach(), q.grad(), k.grad(), v.grad()};
}

Results whole(const Case& c, const Tensors& x) {
  const BlockMask mask = lower(parse_mask(c.mask), c.rows(), {16, 16});
  return results_of(x, [&](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
    return attention(q, k, v, mask, {.engine = AttentionEngine::kReference});
  });
}

/// The largest difference between the ranks' results and what they should be; forward and backward.
double spread_difference(const Case& c, const Tensors& x) {
  const Results want = whole(c, x);
  std::vector<double> worst(c.ranks, 0);
  run_ranks({.cp = c.ranks}, [&](const ParallelGroups& groups) {
    const int64_t rank = groups.context->rank();
    const ContextRowPlanner planner = c.planner(rank);
    const ContextRows rows = planner.plan(c.rows());
    const BlockMask mask = planner.masks(rows).at("mask");
    const auto own = [&](const at::Tensor& t) { return select_tokens(t, rows, rank); };
    const Results got =
        results_of({own(x.q), own(x.k), own(x.v), own(x.grad_out)},
                   [&](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
                     return context_attention(q, k, v, mask, {.engine = c.engine}, groups.context);
                   });
    for (size_t i = 0; i < got.size(); ++i)
      worst[rank] = std::max(worst[rank], (got[i] - own(want[i])).abs().max().item<double>());
  });
  return *std::max_element(worst.begin(), worst.end());
}

void expect_equal_to_whole(const Case& c) {
  torch::manual_seed(1);
  EXPECT_LE(spread_difference(c, tensors_of(c)), 1e-10) << c.text();
}

TEST(ContextAttention, EqualsTheWholeByEveryMethodAndBalancer) {
  for (const ContextMethod method : kMethods)
    for (const Balancer balancer : kBalancers)
      expect_equal_to_whole({.ranks = 3, .method = method, .balancer = balancer});
}

TEST(ContextAttention, EqualsTheWholeByEveryEngine) {
  for (const ContextMethod method : kMethods)
    for (const AttentionEngine engine :
         {AttentionEngine::kReference, AttentionEngine::kBlockSparse})
      expect_equal_to_whole({.ranks = 2, .method = method, .engine = engine});
  // The flash attention of LibTorch takes runs of tokens that see runs of keys.
  expect_equal_to_whole(
      {.ranks = 2, .method = ContextMethod::kAllToAll, .engine = AttentionEngine::kSdpa});
  expect_equal_to_whole({.mask = "causal",
                         .ranks = 2,
                         .method = ContextMethod::kRing,
                         .balancer = Balancer::kNone,
                         .engine = AttentionEngine::kSdpa});
}

TEST(ContextAttention, TakesHeadsThatRanksDoNotDivide) {
  for (const auto& [heads, kv_heads] : {std::pair{6, 2}, {6, 3}, {4, 4}, {5, 1}, {2, 2}, {8, 2}})
    for (const int64_t ranks : {2, 3, 4})
      expect_equal_to_whole({.ranks = ranks,
                             .method = ContextMethod::kAllToAll,
                             .heads = heads,
                             .kv_heads = kv_heads,
                             .key_dim = 12,
                             .value_dim = 8});
}

TEST(ContextAttention, TakesRowsWithPlansOfTheirOwn) {
  for (const ContextMethod method : kMethods)
    expect_equal_to_whole({.documents = {{50, 3}, {20, 33}, {53}}, .ranks = 3, .method = method});
}

TEST(ContextAttention, TakesRanksWithUnequalNumbersOfTokens) {
  for (const ContextMethod method : kMethods)
    expect_equal_to_whole(
        {.documents = {{70, 9}, {30, 49}}, .ranks = 3, .method = method, .slack = 0.3});
}

TEST(ContextAttention, GivesNothingToQueriesThatSeeNothing) {
  for (const ContextMethod method : kMethods)
    for (const char* const mask : {"causal & ~causal", "~causal", "causal & prefix(3) & ~document"})
      expect_equal_to_whole({.mask = mask, .documents = {{9, 11}}, .ranks = 4, .method = method});
}

/// COEUS_CONTEXT_CASES sets how many there are (60 by default: each starts ranks).
TEST(ContextAttention, EqualsTheWholeForRandomMasksRowsAndPlans) {
  const char* const masks[] = {"causal",
                               "full",
                               "document",
                               "causal & document",
                               "causal & document & sliding_window(7)",
                               "causal & document & chunk(16)",
                               "sink(3) | sliding_window(5)",
                               "causal | prefix(9)",
                               "causal & dilated(3)",
                               "~causal & document",
                               "causal & dilated(2) | document & prefix(5)"};
  const char* const given = std::getenv("COEUS_CONTEXT_CASES");
  const int cases = given != nullptr ? std::atoi(given) : 60;
  std::mt19937_64 random(7);
  const auto draw = [&](int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random);
  };
  const auto random_mask = [&] {
    std::string mask = masks[draw(0, std::size(masks) - 1)];
    if (draw(0, 1) == 0)
      mask = fmt::format("({}) {} ({})", mask, draw(0, 1) == 0 ? "&" : "|",
                         masks[draw(0, std::size(masks) - 1)]);
    return draw(0, 5) == 0 ? "~(" + mask + ")" : mask;
  };
  for (int i = 0; i < cases; ++i) {
    Case c;
    c.mask = random_mask();
    c.ranks = draw(2, 4);
    c.method = kMethods[i % 4];
    c.balancer = kBalancers[draw(0, 4)];
    c.kv_heads = draw(1, 3);
    c.heads = c.kv_heads * draw(1, 3);
    c.value_dim = draw(4, 12);
    const int64_t tokens = draw(c.ranks, 90);
    c.documents.clear();
    for (int64_t row = draw(1, 3); row > 0; --row) {
      std::vector<int64_t> lengths;
      for (int64_t left = tokens; left > 0; left -= lengths.back())
        lengths.push_back(draw(1, left));
      c.documents.push_back(lengths);
    }
    torch::manual_seed(i);
    ASSERT_LE(spread_difference(c, tensors_of(c)), 1e-10) << "case " << i << ": " << c.text();
  }
}

TEST(ContextAttention, NeededKeysAreAllThatIsSent) {
  const Case c = {.documents = {{20, 20, 24}},
                  .ranks = 2,
                  .method = ContextMethod::kNeeded,
                  .balancer = Balancer::kNone};
  const ContextRows rows = c.planner(0).plan(c.rows());
  const auto shard = c.planner(0).masks(rows).at("mask").shard(0);
  // Rank 1 has tokens 32 to 63 and needs 20 to 31 of the second document; rank 0 needs nothing.
  EXPECT_EQ(shard->sent[1].size(), 12U);
  EXPECT_EQ(shard->received[1].size(), 0U);
  EXPECT_EQ(shard->pieces[0]->key_length, 32);
}

/// Bytes that ranks get from others in one forward pass, as their exchanges count them.
int64_t measured_bytes(const Case& c, const std::string& kind) {
  std::vector<std::unique_ptr<CollectiveLog>> logs;
  for (int64_t rank = 0; rank < c.ranks; ++rank) logs.push_back(std::make_unique<CollectiveLog>());
  const Tensors x = tensors_of(c);
  run_ranks(
      {.cp = c.ranks},
      [&](const ParallelGroups& groups) {
        const at::NoGradGuard no_grad;
        const int64_t rank = groups.context->rank();
        const ContextRowPlanner planner = c.planner(rank);
        const ContextRows rows = planner.plan(c.rows());
        const auto own = [&](const at::Tensor& t) { return select_tokens(t, rows, rank); };
        context_attention(own(x.q), own(x.k), own(x.v), planner.masks(rows).at("mask"), {},
                          groups.context);
      },
      [&](int64_t rank) { return logs[rank].get(); });
  int64_t bytes = 0;
  for (const auto& log : logs)
    for (const auto& [kind_and_group, volume] : log->volume())
      if (kind_and_group.first == kind) bytes += volume.bytes;
  return bytes;
}

TEST(ContextAttention, ExchangesAQuarterAtMostOfAllKeysWhereDocumentsAreShort) {
  // 64 documents of exponential lengths, an eighth of them a rank.
  std::mt19937_64 random(3);
  std::exponential_distribution<double> length(1.0 / 256);
  std::vector<int64_t> documents;
  for (int64_t left = 16384; left > 0; left -= documents.back())
    documents.push_back(std::min(left, std::max<int64_t>(1, std::lround(length(random)))));
  Case c = {.documents = {documents},
            .ranks = 8,
            .method = ContextMethod::kAllGather,
            .balancer = Balancer::kNone,
            .heads = 1,
            .kv_heads = 1};
  // Of what a rank gathers, an eighth was its own.
  const int64_t all = measured_bytes(c, "all_gather") / 8 * 7;
  EXPECT_EQ(all, int64_t{16384} * 7 * 16 * 8);
  c.method = ContextMethod::kNeeded;
  for (const Balancer balancer : {Balancer::kNone, Balancer::kJoint}) {
    c.balancer = balancer;
    const int64_t needed = measured_bytes(c, "all_to_all");
    EXPECT_GT(needed, 0);
    EXPECT_LE(4 * needed, all) << name_of(balancer);
    RecordProperty(std::string(name_of(balancer)) + "_share",
                   fmt::format("{:.4f}", static_cast<double>(needed) / static_cast<double>(all)));
  }
}

std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(ContextAttention, RefusesTokensThatThePlanDoesNotGiveIt) {
  const Case c;
  const Tensors x = tensors_of(c);
  EXPECT_THAT(message_of([&] {
                run_ranks({.cp = 2}, [&](const ParallelGroups& groups) {
                  const ContextRowPlanner planner = c.planner(groups.context->rank());
                  const BlockMask mask = planner.masks(planner.plan(c.rows())).at("mask");
                  context_attention(x.q, x.k, x.v, mask, {}, groups.context);
                });
              }),
              HasSubstr("select tokens by the plan"));
}

TEST(ContextAttention, RefusesToCheckARing) {
  const Case c = {.method = ContextMethod::kRing};
  const Tensors x = tensors_of(c);
  EXPECT_THAT(message_of([&] {
                run_ranks({.cp = 2}, [&](const ParallelGroups& groups) {
                  const int64_t rank = groups.context->rank();
                  const ContextRowPlanner planner = c.planner(rank);
                  const ContextRows rows = planner.plan(c.rows());
                  const auto own = [&](const at::Tensor& t) {
                    return select_tokens(t, rows, rank);
                  };
                  context_attention(own(x.q), own(x.k), own(x.v), planner.masks(rows).at("mask"),
                                    {.engine = AttentionEngine::kCheck}, groups.context);
                });
              }),
              HasSubstr("allgather"));
}

TEST(ContextPlanCheck, NamesTheRanksWhosePlansDiffer) {
  const auto message = message_of([] {
    run_ranks({.cp = 3}, [](const ParallelGroups& groups) {
      check_same_plan(groups.context->rank() == 2 ? 8 : 7, *groups.context);
    });
  });
  EXPECT_THAT(message, HasSubstr("rank 2"));
  EXPECT_NO_THROW(run_ranks(
      {.cp = 3}, [](const ParallelGroups& groups) { check_same_plan(7, *groups.context); }));
}

}  // namespace
}  // namespace coeus
