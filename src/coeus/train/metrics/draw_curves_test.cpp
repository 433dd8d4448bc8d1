#include "coeus/train/metrics/draw_curves.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace coeus {
namespace {

using testing::HasSubstr;
using testing::Not;

int count_of(const std::string& text, const std::string& part) {
  int count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(DrawCurves, ShowsBothCurvesAndTheirDifference) {
  const LossCurve a = {{1, {8.0}}, {2, {7.0}}, {3, {6.0}}};
  const LossCurve b = {{1, {8.0}}, {2, {7.5}}, {3, {6.0}}};
  const std::string svg = draw_curves_svg(a, b, "run <1>", "run 2");
  EXPECT_THAT(svg, HasSubstr("run &lt;1&gt;"));
  EXPECT_THAT(svg, HasSubstr(">run 2<"));
  EXPECT_EQ(count_of(svg, "<polyline"), 3);
  // Steps 0.9 to 3.1 over 670 units from 90; losses 5.9 to 8.1 over 280 down to 360.
  EXPECT_THAT(svg, HasSubstr("points='120.45,92.73 425.00,220.00 729.55,347.27'"));
  EXPECT_THAT(svg, HasSubstr("points='120.45,92.73 425.00,156.36 729.55,347.27'"));
}

TEST(DrawCurves, NumbersThatAreNotFiniteAreGaps) {
  LossCurve a;
  for (int64_t step = 1; step <= 5; ++step) a[step].loss = step == 3 ? NAN : 9.0;
  const std::string svg = draw_curves_svg(a, {{1, {9.0}}}, "a", "b");
  EXPECT_EQ(count_of(svg, "<polyline"), 4) << "two runs of a, one point of b and of the difference";
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
}

TEST(StepTable, HasALineForEachCommonStep) {
  const std::string table =
      step_table({{1, {8.0}}, {2, {7.6615095}}, {4, {5.0}}}, {{2, {7.6615096}}, {3, {1.0}}});
  EXPECT_EQ(count_of(table, "\n"), 2);
  EXPECT_THAT(table,
              HasSubstr("       2            7.6615095            7.6615096        1e-07\n"));
}

}  // namespace
}  // namespace coeus
