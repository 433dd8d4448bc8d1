#include "coeus/parallel/tensor/loss_parallel.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>

#include "coeus/base/error.h"
#include "coeus/comm/test_ranks.h"
#include "coeus/ops/cross_entropy.h"

namespace coeus {
namespace {

at::Tensor own_columns(const at::Tensor& logits, const ProcessGroup& group) {
  const EvenShare own = even_share(logits.size(-1), group.size(), group.rank());
  return logits.narrow(-1, own.begin, own.size).detach();
}

at::Tensor loss_of(const at::Tensor& columns, const at::Tensor& labels, int64_t vocab,
                   const std::shared_ptr<ProcessGroup>& group) {
  return loss_parallel_cross_entropy_sum(
      columns, labels, even_share(vocab, group->size(), group->rank()), vocab, group);
}

TEST(LossParallel, AgreesWithTheLossOfWholeLogits) {
  torch::manual_seed(1);
  for (auto dtype : {at::kDouble, at::kFloat, at::kBFloat16})
    for (const int64_t ranks : {1, 2, 3})
      for (const int64_t vocab : {3, 37, 500}) {
        const at::Tensor logits = (at::randn({2, 41, vocab}) * 3).to(dtype);
        at::Tensor labels = at::randint(0, vocab, {2, 41}, at::kLong);
        labels.select(1, 3).fill_(kIgnoredLabel);
        const at::Tensor whole = logits.detach().requires_grad_();
        const at::Tensor want = cross_entropy_sum_reference(whole, labels);
        (want / 82).backward();
        run_ranks({.tp = ranks}, [&](const ParallelGroups& groups) {
          at::Tensor columns = own_columns(logits, *groups.tensor).requires_grad_();
          const at::Tensor loss = loss_of(columns, labels, vocab, groups.tensor);
          (loss / 82).backward();
          const double tolerance = dtype == at::kDouble ? 1e-12 : 1e-6;
          EXPECT_NEAR(loss.item<double>(), want.item<double>(), tolerance * want.item<double>());
          const at::Tensor error =
              (columns.grad() - own_columns(whole.grad(), *groups.tensor)).abs();
          EXPECT_LE(error.max().item<double>(), dtype == at::kBFloat16 ? 1e-4 : tolerance)
              << vocab << " over " << ranks << " in " << c10::toString(dtype);
        });
      }
}

TEST(LossParallel, IsTheSameToTheBitOnEveryRank) {
  torch::manual_seed(2);
  const at::Tensor logits = at::randn({64, 91});
  const at::Tensor labels = at::randint(0, 91, {64}, at::kLong);
  run_ranks({.tp = 4}, [&](const ParallelGroups& groups) {
    const at::Tensor loss = loss_of(own_columns(logits, *groups.tensor), labels, 91, groups.tensor);
    const at::Tensor all = groups.tensor->all_gather(loss.view({1}), "losses");
    EXPECT_TRUE(at::equal(all, loss.expand({4})));
  });
}

TEST(LossParallel, OneRanksLargeLogitsDoNotOverflow) {
  at::Tensor logits = at::zeros({1, 4});
  logits[0][3] = 3000;
  run_ranks({.tp = 2}, [&](const ParallelGroups& groups) {
    const at::Tensor loss =
        loss_of(own_columns(logits, *groups.tensor), at::ones({1}, at::kLong), 4, groups.tensor);
    EXPECT_EQ(loss.item<double>(), 3000);
  });
}

TEST(LossParallel, IgnoredLabelsCountForNothing) {
  run_ranks({.tp = 2}, [](const ParallelGroups& groups) {
    at::Tensor columns = at::randn({3, 2}).requires_grad_();
    const at::Tensor loss =
        loss_of(columns, at::full({3}, kIgnoredLabel, at::kLong), 4, groups.tensor);
    loss.backward();
    EXPECT_EQ(loss.item<double>(), 0);
    EXPECT_EQ(columns.grad().abs().sum().item<double>(), 0);
  });
}

TEST(LossParallel, ANanLogitMakesEveryRanksLossNan) {
  at::Tensor logits = at::zeros({1, 6});
  logits[0][5] = NAN;
  run_ranks({.tp = 2}, [&](const ParallelGroups& groups) {
    EXPECT_TRUE(std::isnan(
        loss_of(own_columns(logits, *groups.tensor), at::ones({1}, at::kLong), 6, groups.tensor)
            .item<float>()));
  });
}

TEST(LossParallel, LabelsOutsideTheVocabularyAreRefused) {
  run_ranks({.tp = 2}, [](const ParallelGroups& groups) {
    for (const int64_t label : {-1, 6})
      EXPECT_THROW(loss_of(at::zeros({1, 3}), at::full({1}, label, at::kLong), 6, groups.tensor),
                   DataError);
    EXPECT_THROW(loss_of(at::zeros({2, 3}), at::ones({1}, at::kLong), 6, groups.tensor), Error);
  });
}

TEST(EvenShare, CoversAllRowsAndLeavesNoRankWithout) {
  for (const int64_t size : {4, 5, 37, 2000})
    for (const int64_t ranks : {1, 2, 3, 4}) {
      int64_t end = 0;
      for (int64_t rank = 0; rank < ranks; ++rank) {
        const EvenShare share = even_share(size, ranks, rank);
        EXPECT_EQ(share.begin, end);
        EXPECT_GE(share.size, size / ranks);
        EXPECT_LE(share.size, (size + ranks - 1) / ranks);
        EXPECT_EQ(even_shares(size, ranks)[rank], share.size);
        end += share.size;
      }
      EXPECT_EQ(end, size);
    }
}

}  // namespace
}  // namespace coeus
