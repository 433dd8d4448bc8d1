#include "coeus/train/non_finite.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <limits>

#include "coeus/base/error.h"
#include "coeus/models/registry.h"
#include "coeus/ops/cross_entropy.h"
#include "coeus/optim/gradient_norm.h"

namespace coeus {
namespace {

using testing::HasSubstr;

constexpr int64_t kRows = 2;
constexpr int64_t kTokens = 12;

class NonFinite : public testing::Test {
 protected:
  NonFinite() {
    model_ = build_model(
        {.name = "llama3", .flavor = "debugmodel", .seq_len = 16, .tensors = at::TensorOptions()});
    model_->init_weights(3);
    torch::manual_seed(1);
    batch_ = {.tokens = at::randint(2048, {kRows, kTokens}, at::kLong),
              .labels = at::randint(2048, {kRows, kTokens}, at::kLong),
              .positions = at::arange(kTokens, at::kInt).expand({kRows, kTokens}).contiguous()};
    const std::vector<SequenceLayout> rows(
        kRows, SequenceLayout::from_document_lengths(std::vector<int64_t>{kTokens}));
    masks_ = model_->get_attention_masks(rows);
  }

  at::Tensor parameter(const std::string& name) {
    for (const auto& [known, tensor] : named_parameters_of(*model_))
      if (known == name) return tensor.detach();
    throw Error(name);
  }

  /// What a step of training says of the model as it is; "" when all is well.
  std::string complaint() {
    const auto parameters = named_parameters_of(*model_);
    for (const auto& [name, tensor] : parameters) tensor.mutable_grad() = at::Tensor();
    const at::Tensor logits = model_->forward(batch_.tokens, batch_.positions, masks_);
    at::Tensor loss = cross_entropy_sum(logits, batch_.labels);
    loss.backward();
    try {
      check_finite(7, loss.item<double>(), gradient_norm(parameters).item<double>(), parameters,
                   gradient_norms(parameters),
                   [&] { return first_bad_output(*model_, batch_, masks_, {}); });
    } catch (const NonFiniteError& error) {
      return error.what();
    }
    return "";
  }

  std::shared_ptr<Model> model_;
  BatchTensors batch_;
  AttentionMasks masks_;
};

TEST_F(NonFinite, AHealthyStepPasses) { EXPECT_EQ(complaint(), ""); }

TEST_F(NonFinite, NamesTheBadParameterFirst) {
  parameter("layers.2.attention.wv.weight")[0][0] = std::numeric_limits<float>::quiet_NaN();
  const std::string said = complaint();
  EXPECT_THAT(said, HasSubstr("step 7"));
  EXPECT_THAT(said, HasSubstr("bad tensor is the parameter layers.2.attention.wv.weight."));
}

TEST_F(NonFinite, NamesTheFirstBlockThatOverflows) {
  for (const char* layer : {"layers.3", "layers.4"})
    parameter(std::string(layer) + ".feed_forward.w2.weight").fill_(3e38F);
  EXPECT_THAT(complaint(), HasSubstr("bad tensor is the output of layers.3 (row "));
}

TEST_F(NonFinite, NamesTheTokenThatOverflows) {
  const int64_t token = batch_.tokens[1][5].item<int64_t>();
  ASSERT_EQ((batch_.tokens == token).sum().item<int64_t>(), 1);
  // Normed, the token's first value is 16, and that of other tokens below 4.
  parameter("tok_embeddings.weight")[token][0] = 1e18F;
  for (const char* name : {"w1", "w3"}) {
    at::Tensor gate = parameter(std::string("layers.1.feed_forward.") + name + ".weight")[0];
    gate.zero_();
    gate[0] = name == std::string("w1") ? 5.0F : 1e36F;
  }
  EXPECT_THAT(complaint(), HasSubstr("bad tensor is the output of layers.1 (row 1, token 5)."));
}

TEST_F(NonFinite, NamesTheLogitsWhenAllBlocksAreFinite) {
  parameter("output.weight").fill_(3e38F);
  EXPECT_THAT(complaint(), HasSubstr("bad tensor is the logits (row 0, token 0)."));
}

TEST_F(NonFinite, NamesTheGradientWhereBackwardMetIt) {
  // Logits stay small; the gradient that the norm receives is a difference of two output rows.
  parameter("norm.weight").fill_(1e-38F);
  parameter("output.weight").uniform_(-1, 1).mul_(3e38F);
  EXPECT_THAT(complaint(),
              HasSubstr("gradients are bad in layers.5 (attention.wq.weight, attention.wk.weight"));
}

/// What is said of parameters of these names whose gradients are bad.
std::string said_of(const std::vector<std::string>& names) {
  std::vector<std::pair<std::string, at::Tensor>> parameters = {{"layers.9.fine", at::zeros({1})}};
  parameters[0].second.mutable_grad() = at::zeros({1});
  for (const std::string& name : names) {
    parameters.emplace_back(name, at::zeros({1}));
    parameters.back().second.mutable_grad() = at::full({1}, std::nan(""));
  }
  try {
    check_finite(1, 0.5, std::nan(""), parameters, gradient_norms(parameters));
  } catch (const NonFiniteError& error) {
    return error.what();
  }
  return "";
}

TEST(BadGradients, AreNamedByTheLastBlockThatHasAny) {
  EXPECT_THAT(said_of({"tok_embeddings.weight", "layers.2.w1.weight", "layers.3.w1.weight",
                       "layers.3.w2.weight", "layers.12.moe.experts.w3", "layers.12.norm.weight",
                       "norm.weight"}),
              HasSubstr("; gradients are bad in layers.12 (moe.experts.w3, norm.weight), in blocks "
                        "before it (3 parameters), outside the blocks (tok_embeddings.weight, "
                        "norm.weight). The step"));
  EXPECT_THAT(said_of({"layers.0.w1.weight"}), HasSubstr("are bad in layers.0 (w1.weight). The"));
  EXPECT_THAT(said_of({"w2.weight", "output.weight"}),
              HasSubstr("are bad outside the blocks (w2.weight, output.weight). The"));
}

TEST_F(NonFinite, SaysSoWhenOnlyTheNormOverflows) {
  const at::Tensor weight = at::zeros({4}).requires_grad_();
  weight.mutable_grad() = at::full({4}, 1e38F);
  try {
    check_finite(1, 0.5, std::numeric_limits<double>::infinity(), {{"weight", weight}},
                 gradient_norms({{"weight", weight}}));
    FAIL() << "it was let pass";
  } catch (const NonFiniteError& error) {
    EXPECT_THAT(error.what(), HasSubstr("is the norm of the gradients, whose squares overflow."));
  }
}

TEST_F(NonFinite, LeavesNoObserverBehind) {
  EXPECT_EQ(first_bad_output(*model_, batch_, masks_, {}), "");
  int64_t seen = 0;
  model_->blocks()[0]->set_observer([&](const at::Tensor&, const at::Tensor&) { ++seen; });
  EXPECT_EQ(first_bad_output(*model_, batch_, masks_, {}), "");
  const at::NoGradGuard no_grad;
  model_->forward(batch_.tokens, batch_.positions, masks_);
  EXPECT_EQ(seen, 0);
}

}  // namespace
}  // namespace coeus
