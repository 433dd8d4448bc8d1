#include "coeus/train/metrics/compare.h"

#include <gmock/gmock.h>

#include <cmath>

#include "coeus/base/error.h"

namespace coeus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::ThrowsMessage;

const LossCurve kA = {{1, {8.0, 2.0}}, {2, {7.0, 4.0}}, {3, {6.0, 1.0}}};

LossCurve with(int64_t step, CurvePoint point) {
  LossCurve curve = kA;
  curve[step] = point;
  return curve;
}

TEST(Compare, FindsTheLargestDifferencesAndTheirSteps) {
  LossCurve b = {{1, {8.25, 2.5}}, {2, {6.5, 4.5}}, {3, {6.0, 1.0}}};
  Comparison comparison = compare_curves(kA, b, {});
  EXPECT_EQ(comparison.n_common, 3);
  EXPECT_EQ(comparison.loss.difference, 0.5);
  EXPECT_EQ(comparison.loss.step, 2);
  EXPECT_EQ(comparison.loss.a, 7.0);
  EXPECT_EQ(comparison.loss.b, 6.5);
  EXPECT_EQ(comparison.loss.n_unequal, 2);
  EXPECT_EQ(comparison.loss.first_unequal, 1);
  EXPECT_EQ(comparison.grad_norm->difference, 0.2) << "relative to the larger: 0.5 / 2.5";
  EXPECT_EQ(comparison.grad_norm->step, 1);
  EXPECT_TRUE(comparison.within()) << "nothing was demanded";
}

TEST(Compare, IsTheSameTheOtherWayRound) {
  LossCurve b = with(2, {6.5, 4.5});
  Comparison forth = compare_curves(kA, b, {});
  Comparison back = compare_curves(b, kA, {});
  EXPECT_EQ(forth.loss.difference, back.loss.difference);
  EXPECT_EQ(forth.grad_norm->difference, back.grad_norm->difference);
}

TEST(Compare, HoldsTheLossToTheAbsoluteLimitInclusively) {
  LossCurve b = with(2, {7.25, 400.0});
  EXPECT_TRUE(compare_curves(kA, b, {.loss_absolute = 0.25}).within());
  EXPECT_FALSE(compare_curves(kA, b, {.loss_absolute = 0.2499}).within());
}

TEST(Compare, HoldsTheGradNormToTheRelativeLimit) {
  LossCurve b = with(2, {700.0, 5.0});
  EXPECT_TRUE(compare_curves(kA, b, {.grad_norm_relative = 0.2}).within());
  EXPECT_FALSE(compare_curves(kA, b, {.grad_norm_relative = 0.1999}).within());
  EXPECT_TRUE(
      compare_curves({{1, {8.0, 0.0}}}, {{1, {8.0, 0.0}}}, {.grad_norm_relative = 0}).within());
}

TEST(Compare, BitwiseSeesTheLastBit) {
  EXPECT_TRUE(compare_curves(kA, kA, {.bitwise = true}).within());
  EXPECT_FALSE(
      compare_curves(kA, with(3, {std::nextafter(6.0, 7.0), 1.0}), {.bitwise = true}).within());
  EXPECT_FALSE(
      compare_curves(kA, with(3, {6.0, std::nextafter(1.0, 2.0)}), {.bitwise = true}).within());
}

TEST(Compare, TakesWhatIsNotFiniteForDifferentFromEverything) {
  for (double odd : {std::nan(""), double{INFINITY}}) {
    LossCurve b = with(2, {odd, 4.0});
    EXPECT_FALSE(compare_curves(kA, b, {.loss_absolute = 1e9}).within());
    EXPECT_FALSE(compare_curves(b, b, {.bitwise = true}).within());
    LossCurve c = with(2, {7.0, odd});
    EXPECT_FALSE(compare_curves(kA, c, {.grad_norm_relative = 1e9}).within());
    EXPECT_FALSE(compare_curves(c, c, {.grad_norm_relative = 1e9}).within());
    EXPECT_EQ(compare_curves(c, kA, {}).grad_norm->step, 2);
  }
}

TEST(Compare, ComparesTheCommonStepsAndNamesTheOthers) {
  LossCurve b = kA;
  b.erase(1);
  b[10] = b[11] = {5.0, 1.0};
  Comparison comparison = compare_curves(kA, b, {.bitwise = true});
  EXPECT_TRUE(comparison.within());
  EXPECT_EQ(comparison.n_common, 2);
  EXPECT_THAT(comparison.only_in_a, ElementsAre(1));
  EXPECT_THAT(comparison.only_in_b, ElementsAre(10, 11));
  std::string table = comparison_table(comparison, {.bitwise = true});
  EXPECT_THAT(table, HasSubstr("not compared, only in A: 1 step (1)\n"));
  EXPECT_THAT(table, HasSubstr("not compared, only in B: 2 steps (10-11)\n"));
}

TEST(Compare, CanBeKeptToSomeSteps) {
  LossCurve b = with(3, {1.0, 1.0});
  EXPECT_TRUE(compare_curves(kA, b, {.loss_absolute = 0, .last_step = 2}).within());
  EXPECT_FALSE(compare_curves(kA, b, {.loss_absolute = 0, .first_step = 3}).within());
  LossCurve c = with(1, {1.0, 1.0});
  EXPECT_TRUE(compare_curves(kA, c, {.loss_absolute = 0, .first_step = 2}).within());
}

TEST(Compare, NeedsACommonStep) {
  EXPECT_THAT(
      [] {
        compare_curves(kA, {{5, {8.0, 2.0}}}, {});
      },
      ThrowsMessage<Error>(HasSubstr("no step stands in both files: A has 1-3, B has 5")));
}

TEST(Compare, GoesWithoutGradNormUnlessItIsDemanded) {
  LossCurve b = with(2, {7.0, std::nullopt});
  EXPECT_EQ(compare_curves(kA, b, {}).grad_norm, std::nullopt);
  EXPECT_THAT(comparison_table(compare_curves(kA, b, {}), {}),
              HasSubstr("grad_norm  not compared"));
  EXPECT_THAT([&] { compare_curves(kA, b, {.grad_norm_relative = 0.1}); },
              ThrowsMessage<Error>(HasSubstr("--rtol needs grad_norm")));
}

TEST(Compare, RefusesLimitsThatAreNone) {
  EXPECT_THAT([] { compare_curves(kA, kA, {.loss_absolute = -1}); },
              ThrowsMessage<ConfigError>(HasSubstr("--atol must be 0 or more, got -1")));
  EXPECT_THAT([] { compare_curves(kA, kA, {.grad_norm_relative = std::nan("")}); },
              ThrowsMessage<ConfigError>(HasSubstr("--rtol must be 0 or more, got nan")));
}

TEST(Compare, PrintsLimitsAndVerdicts) {
  LossCurve b = with(2, {7.25, 5.0});
  CompareLimits limits{.loss_absolute = 0.1, .grad_norm_relative = 0.5};
  std::string table = comparison_table(compare_curves(kA, b, limits), limits);
  EXPECT_THAT(table, testing::MatchesRegex(
                         "compared 3 steps, 1 to 3\n"
                         " +measure +largest +at step +A +B +limit +verdict +exactly\n"
                         "loss +absolute +0.25 +2 +7 +7.25 +0.1 +OUTSIDE +1 unequal, first at "
                         "step 2\n"
                         "grad_norm +relative +0.2 +2 +4 +5 +0.5 +within +1 unequal, first at "
                         "step 2\n"));
  EXPECT_THAT(comparison_table(compare_curves(kA, kA, {}), {}), Not(HasSubstr("within")));
}

TEST(StepRanges, JoinsNeighbours) {
  EXPECT_EQ(step_ranges({1, 2, 3, 7, 9, 10}), "1-3, 7, 9-10");
  EXPECT_EQ(step_ranges({}), "");
}

}  // namespace
}  // namespace coeus
