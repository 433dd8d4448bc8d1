#include "coeus/parallel/tensor/sequence_shares.h"

#include <gtest/gtest.h>
#include <torch/types.h>

#include "coeus/base/error.h"
#include "coeus/comm/test_ranks.h"
#include "coeus/ops/kept_results.h"
#include "coeus/parallel/sharded_parameters.h"

namespace coeus {
namespace {

/// Values that differ by place and by `of`, exact in float32.
at::Tensor numbers(at::IntArrayRef sizes, int64_t of) {
  const int64_t n = c10::multiply_integers(sizes);
  return (at::arange(n) * 7 + of * 13).remainder(101).to(at::kFloat).view(sizes);
}

at::Tensor sum_of_numbers(at::IntArrayRef sizes, int64_t ranks) {
  at::Tensor sum = at::zeros(sizes);
  for (int64_t r = 0; r < ranks; ++r) sum += numbers(sizes, r);
  return sum;
}

/// Calls f for ranks, batches and lengths that divide, do not, and leave ranks without a token.
void for_all_sizes(const std::function<void(const SequenceShares&, int64_t batch)>& f) {
  for (const int64_t ranks : {1, 2, 3, 4})
    run_ranks({.tp = ranks}, [&](const ParallelGroups& groups) {
      for (const int64_t batch : {1, 2, 3})
        for (const int64_t seq_len : {1, 2, 5, 8, 9}) f({groups.tensor, seq_len, "test"}, batch);
    });
}

ChunkRange own(const SequenceShares& shares) {
  return chunk_of(shares.seq_len, shares.group->size(), shares.group->rank());
}

TEST(GatherSequence, JoinsSharesAndGivesBackSummedGradients) {
  for_all_sizes([](const SequenceShares& shares, int64_t batch) {
    const std::vector<int64_t> sizes = {batch, shares.seq_len, 3};
    const at::Tensor whole = numbers(sizes, 5);
    const auto [begin, size] = own(shares);
    const at::Tensor x = whole.narrow(1, begin, size).detach().requires_grad_();
    const at::Tensor got = gather_sequence(x, shares);
    EXPECT_TRUE(at::equal(got, whole));
    EXPECT_TRUE(got.is_contiguous());
    got.backward(numbers(sizes, shares.group->rank()));
    EXPECT_TRUE(
        at::equal(x.grad(), sum_of_numbers(sizes, shares.group->size()).narrow(1, begin, size)));
  });
}

TEST(ReduceScatterSequence, SumsToSharesAndGivesBackJoinedGradients) {
  for_all_sizes([](const SequenceShares& shares, int64_t batch) {
    const std::vector<int64_t> sizes = {batch, shares.seq_len, 2, 2};
    const auto [begin, size] = own(shares);
    const at::Tensor x = numbers(sizes, shares.group->rank()).requires_grad_();
    const at::Tensor got = reduce_scatter_sequence(x, shares);
    EXPECT_TRUE(at::equal(got, sum_of_numbers(sizes, shares.group->size()).narrow(1, begin, size)));
    const at::Tensor gradient = numbers(sizes, 9);
    got.backward(gradient.narrow(1, begin, size));
    EXPECT_TRUE(at::equal(x.grad(), gradient));
  });
}

TEST(ReduceScatterSequence, IsKeptWhereLayersAreRecomputedByOperation) {
  run_ranks({.tp = 2}, [](const ParallelGroups& groups) {
    const SequenceShares shares = {groups.tensor, 4, "test"};
    KeptResults results;
    const at::Tensor x = numbers({1, 4, 2}, groups.tensor->rank());
    at::Tensor first;
    {
      const KeptResults::Run keeping(results, KeptResults::Run::Mode::kKeep);
      first = reduce_scatter_sequence(x, shares);
    }
    const KeptResults::Run taking(results, KeptResults::Run::Mode::kTake);
    EXPECT_TRUE(at::equal(reduce_scatter_sequence(at::zeros_like(x), shares), first));
  });
}

TEST(SequenceShares, LengthsThatDoNotFitAreRefused) {
  run_ranks({.tp = 2}, [](const ParallelGroups& groups) {
    const SequenceShares shares = {groups.tensor, 6, "test"};
    EXPECT_THROW(gather_sequence(at::zeros({1, 4, 2}), shares), Error);
    EXPECT_THROW(reduce_scatter_sequence(at::zeros({1, 5, 2}), shares), Error);
    EXPECT_THROW(take_sequence_share(at::zeros({1, 5}), shares), Error);
  });
}

TEST(TakeSequenceShare, IsWhatGatherSequenceJoins) {
  for_all_sizes([](const SequenceShares& shares, int64_t batch) {
    const at::Tensor whole = numbers({batch, shares.seq_len}, 1);
    EXPECT_TRUE(at::equal(gather_sequence(take_sequence_share(whole, shares), shares), whole));
  });
}

TEST(GatherLastDimension, JoinsPartsOfAnyWidthAndGivesBackItsOwnGradient) {
  run_ranks({.tp = 3}, [](const ParallelGroups& groups) {
    for (const std::vector<int64_t>& widths :
         {std::vector<int64_t>{2, 2, 2}, std::vector<int64_t>{1, 3, 2}}) {
      const std::vector<int64_t> sizes = {2, 4, 6};
      const at::Tensor whole = numbers(sizes, 3);
      const int64_t rank = groups.tensor->rank();
      int64_t begin = 0;
      for (int64_t r = 0; r < rank; ++r) begin += widths[r];
      const at::Tensor x = whole.narrow(-1, begin, widths[rank]).detach().requires_grad_();
      const at::Tensor got = gather_last_dimension(x, widths, groups.tensor, "test");
      EXPECT_TRUE(at::equal(got, whole));
      got.backward(numbers(sizes, 8));
      EXPECT_TRUE(at::equal(x.grad(), numbers(sizes, 8).narrow(-1, begin, widths[rank])));
    }
  });
}

}  // namespace
}  // namespace coeus
