#include "coeus/parallel/activation_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coeus/base/error.h"

namespace coeus {
namespace {

struct PlainBlock : nn::Block {
  at::Tensor forward(const at::Tensor& h, const nn::OrderedInputs&) override { return h; }
  void init_weights(uint64_t, const std::string&) override {}
};

std::vector<bool> recomputed(const ActivationCheckpointConfig& config) {
  std::vector<PlainBlock> blocks(6);
  std::vector<nn::Block*> pointers;
  for (PlainBlock& block : blocks) pointers.push_back(&block);
  apply_activation_checkpoint(pointers, config);
  std::vector<bool> flags;
  for (const PlainBlock& block : blocks) flags.push_back(block.is_recomputed());
  EXPECT_EQ(std::count(flags.begin(), flags.end(), true), recomputed_blocks(6, config));
  return flags;
}

using testing::ElementsAre;

TEST(ActivationCheckpoint, ModesPickTheBlocksTorchTitanPicks) {
  EXPECT_THAT(recomputed({.mode = "none"}), ElementsAre(0, 0, 0, 0, 0, 0));
  EXPECT_THAT(recomputed({.mode = "full"}), ElementsAre(1, 1, 1, 1, 1, 1));
  EXPECT_THAT(recomputed({.mode = "selective", .selective_ac_option = "2"}),
              ElementsAre(0, 1, 0, 1, 0, 1));
  EXPECT_THAT(recomputed({.mode = "selective", .selective_ac_option = "4"}),
              ElementsAre(0, 0, 0, 1, 0, 0));
  EXPECT_THAT(recomputed({.mode = "selective", .selective_ac_option = "0"}),
              ElementsAre(1, 1, 1, 1, 1, 1));
}

TEST(ActivationCheckpoint, ByOperationEveryBlockIsRecomputedInPart) {
  PlainBlock block;
  apply_activation_checkpoint({&block}, {.mode = "selective", .selective_ac_option = "op"});
  EXPECT_TRUE(block.is_recomputed_by_operation());
  apply_activation_checkpoint({&block}, {.mode = "full"});
  EXPECT_FALSE(block.is_recomputed_by_operation());
}

TEST(ActivationCheckpoint, OptionsThatAreNotSupportedAreRefused) {
  EXPECT_THROW(recomputed_blocks(6, {.mode = "memory_budget"}), ConfigError);
  EXPECT_THROW(recomputed_blocks(6, {.mode = "selective", .selective_ac_option = "2x"}),
               ConfigError);
}

}  // namespace
}  // namespace coeus
