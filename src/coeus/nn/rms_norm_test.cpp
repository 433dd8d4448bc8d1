#include "coeus/nn/rms_norm.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include "coeus/nn/init.h"

namespace coeus::nn {
namespace {

TEST(RmsNormLayer, AddNormRunsTheHooksOfForward) {
  torch::manual_seed(1);
  const at::Tensor x = at::randn({2, 3, 8}), y = at::randn({2, 3, 8});
  for (bool input_hook : {false, true}) {
    RMSNorm norm(8, 1e-5, at::TensorOptions());
    init_ones(norm->weight);
    // Changes a norm by more than a factor.
    if (input_hook) norm->add_input_hook([](const at::Tensor& in) { return in + 1; });
    norm->add_output_hook([](const at::Tensor& out) { return out * 2; });
    const auto [sum, normed] = norm->add_norm(x, y);
    EXPECT_TRUE(at::equal(sum, x + y));
    EXPECT_TRUE(at::equal(normed, norm->forward(x + y))) << input_hook;
  }
}

}  // namespace
}  // namespace coeus::nn
