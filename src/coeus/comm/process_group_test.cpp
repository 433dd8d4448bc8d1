#include "coeus/comm/process_group.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include "coeus/comm/test_ranks.h"

namespace coeus {
namespace {

constexpr int64_t kRanks = 4;

/// Rank r's values, the same in every thread.
at::Tensor values(int64_t rank, at::IntArrayRef shape) {
  auto generator = at::detail::createCPUGenerator(rank + 1);
  return at::randn(shape, generator);
}

void with_ranks(const std::function<void(ProcessGroup&)>& f, int64_t ranks = kRanks) {
  run_ranks({.dp_shard = ranks}, [&](const ParallelGroups& groups) { f(*groups.shard); });
}

TEST(ProcessGroup, SumsOverRanks) {
  for (const int64_t n : {1, 7, 4096, 4097, 30000})
    with_ranks([&](ProcessGroup& group) {
      const at::Tensor sum = group.all_reduce(values(group.rank(), {n}), "test");
      const at::Tensor expected =
          (values(0, {n}) + values(1, {n})) + (values(2, {n}) + values(3, {n}));
      EXPECT_TRUE(at::equal(sum, expected)) << n;
    });
}

TEST(ProcessGroup, TakesTheMaximum) {
  with_ranks([&](ProcessGroup& group) {
    const at::Tensor most =
        group.all_reduce(at::full({2}, group.rank()), "test", ReduceOperation::kMax);
    EXPECT_TRUE(at::equal(most, at::full({2}, int64_t{3})));
  });
}

TEST(ProcessGroup, ScattersTheSumThatAllReduceGives) {
  with_ranks([&](ProcessGroup& group) {
    const at::Tensor x = values(group.rank(), {8, 3});
    const at::Tensor all = group.all_reduce(x, "test");
    EXPECT_TRUE(at::equal(group.reduce_scatter(x, "test"), all.narrow(0, 2 * group.rank(), 2)));
    const std::vector<int64_t> rows = {3, 0, 4, 1};
    const int64_t before = std::vector<int64_t>{0, 3, 3, 7}[group.rank()];
    EXPECT_TRUE(at::equal(group.reduce_scatter_rows(x, rows, "test"),
                          all.narrow(0, before, rows[group.rank()])));
  });
}

TEST(ProcessGroup, GathersRowsOfDifferentNumbers) {
  with_ranks(
      [&](ProcessGroup& group) {
        const std::vector<int64_t> rows = {3, 0, 2};
        const at::Tensor own = values(group.rank(), {rows[group.rank()], 5});
        const at::Tensor all = group.all_gather_rows(own, rows, "test");
        EXPECT_TRUE(at::equal(all, at::cat({values(0, {3, 5}), values(2, {2, 5})})));
      },
      3);
}

TEST(ProcessGroup, ExchangesRows) {
  with_ranks(
      [&](ProcessGroup& group) {
        // Rank 0 sends 1 row to itself and 2 to rank 1, which sends 3 and 0.
        const std::vector<std::vector<int64_t>> sent = {{1, 2}, {3, 0}};
        const std::vector<std::vector<int64_t>> received = {{1, 3}, {2, 0}};
        const at::Tensor out = group.all_to_all(values(group.rank(), {3, 2}), sent[group.rank()],
                                                received[group.rank()], "test");
        const at::Tensor expected =
            group.rank() == 0 ? at::cat({values(0, {3, 2}).narrow(0, 0, 1), values(1, {3, 2})})
                              : values(0, {3, 2}).narrow(0, 1, 2);
        EXPECT_TRUE(at::equal(out, expected));
      },
      2);
}

TEST(ProcessGroup, BroadcastsAndGathersTexts) {
  with_ranks([&](ProcessGroup& group) {
    EXPECT_TRUE(at::equal(group.broadcast(values(group.rank(), {4}), 2, "test"), values(2, {4})));
    const auto texts = group.all_gather_text(std::string(group.rank(), 'x'), "test");
    EXPECT_EQ(texts, (std::vector<std::string>{"", "x", "xx", "xxx"}));
  });
}

TEST(ProcessGroup, MessagesOfOtherTagsDoNotWaitForEachOther) {
  with_ranks(
      [&](ProcessGroup& group) {
        if (group.rank() == 0) {
          Pending second = group.send_async(at::full({2}, 2.0), 1, 2, "test");
          Pending first = group.send_async(at::full({2}, 1.0), 1, 1, "test");
          second.wait();
          first.wait();
        } else {
          at::Tensor first = at::empty({2}), second = at::empty({2});
          group.receive_async(first, 0, 1, "test").wait();
          group.receive_async(second, 0, 2, "test").wait();
          EXPECT_EQ(first[0].item<float>(), 1);
          EXPECT_EQ(second[0].item<float>(), 2);
        }
      },
      2);
}

TEST(ProcessGroup, AloneGivesBackWhatItGets) {
  ProcessGroup alone;
  const at::Tensor x = at::ones({3});
  EXPECT_TRUE(at::equal(alone.all_reduce(x, "test"), x));
  EXPECT_TRUE(at::equal(alone.all_gather(x, "test"), x));
  EXPECT_TRUE(at::equal(alone.reduce_scatter(x, "test"), x));
}

}  // namespace
}  // namespace coeus
