#include "coeus/ops/host_copy.h"

#include <gtest/gtest.h>
#include <torch/types.h>

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

}  // namespace
}  // namespace coeus
