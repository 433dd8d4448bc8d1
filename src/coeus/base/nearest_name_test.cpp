#include "coeus/base/nearest_name.h"

#include <gtest/gtest.h>

namespace coeus {
namespace {

TEST(CountTypos, CountsEachKindOfMistakeOnce) {
  EXPECT_EQ(count_typos("steps", "steps"), 0u);
  EXPECT_EQ(count_typos("stps", "steps"), 1u);    // dropped
  EXPECT_EQ(count_typos("stteps", "steps"), 1u);  // doubled
  EXPECT_EQ(count_typos("staps", "steps"), 1u);   // replaced
  EXPECT_EQ(count_typos("setps", "steps"), 1u);   // swapped
  EXPECT_EQ(count_typos("", "steps"), 5u);
  EXPECT_EQ(count_typos("spets", "steps"), 2u);
}

TEST(CountTypos, TakesDashAndUnderscoreForTheSame) {
  EXPECT_EQ(count_typos("seq-len", "seq_len"), 0u);
}

TEST(NearestName, GivesTheFirstOfEquallyNear) {
  EXPECT_EQ(nearest_name("beta", {"eps", "beta1", "beta2"}), "beta1");
}

TEST(NearestName, GivesNoneWhenNothingIsNear) {
  EXPECT_EQ(nearest_name("temperature", {"lr", "eps"}), std::nullopt);
  EXPECT_EQ(nearest_name("steps", {}), std::nullopt);
}

const std::vector<std::string> kKeys = {"optimizer.lr", "optimizer.eps", "training.steps",
                                        "lr_scheduler.warmup_steps", "validation.steps"};

TEST(NearestKey, FindsAMisspeltKeyOfTheSection) {
  EXPECT_EQ(nearest_key("training.stesp", kKeys), "training.steps");
  EXPECT_EQ(nearest_key("validation.stesp", kKeys), "validation.steps");
}

TEST(NearestKey, FindsTheKeyInAnotherSectionOrWithoutOne) {
  EXPECT_EQ(nearest_key("training.lr", kKeys), "optimizer.lr");
  EXPECT_EQ(nearest_key("lr", kKeys), "optimizer.lr");
  EXPECT_EQ(nearest_key("optimiser.lr", kKeys), "optimizer.lr");
}

TEST(NearestKey, PrefersATypoInTheSectionToARightKeyOfAnother) {
  EXPECT_EQ(nearest_key("a.step", {"b.step", "a.steps"}), "a.steps");
}

}  // namespace
}  // namespace coeus
