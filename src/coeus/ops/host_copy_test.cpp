#include "coeus/ops/host_copy.h"

#include <gtest/gtest.h>
#include <torch/types.h>

#include <chrono>

#include "coeus/ops/test_device.h"

namespace coeus {
namespace {

TEST(HostCopy, HasTheValuesOfItsTimeOnTheCpu) {
  const at::TensorOptions on_device = at::TensorOptions().device(test_device());
  at::Tensor x = at::arange(1000, on_device.dtype(at::kDouble));
  x = x * 2;
  const HostCopy copy(x);
  x = x * 2;
  EXPECT_TRUE(copy.wait().device().is_cpu());
  EXPECT_TRUE(at::equal(copy.wait(), at::arange(1000, at::kDouble) * 2));
}

TEST(HostCopy, KnowsWhenItsValuesWereThereHoweverLateItIsAsked) {
  const auto now = [] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
  };
  const double before = now();
  const HostCopy copy(at::ones({3}, at::TensorOptions().device(test_device())),
                      /*timed=*/true);
  copy.wait();
  const double after = now();
  while (now() == after) continue;
  EXPECT_GE(copy.done_at(), before);
  EXPECT_LE(copy.done_at(), after);
}

}  // namespace
}  // namespace coeus
