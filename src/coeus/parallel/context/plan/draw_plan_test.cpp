#include "coeus/parallel/context/plan/draw_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "coeus/base/error.h"
#include "coeus/mask/lower.h"
#include "coeus/mask/mask.h"

namespace coeus {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using ::testing::ThrowsMessage;

/// A row of documents under masks "EXPR" and how many layers take each.
ContextRow row_of(const std::vector<int64_t>& documents,
                  const std::vector<std::pair<const char*, int64_t>>& masks) {
  const auto layout = SequenceLayout::from_document_lengths(documents);
  std::vector<LayersMask> lowered;
  for (const auto& [text, layers] : masks)
    lowered.push_back({text, lower_row(parse_mask(text), layout), layers});
  return {layout, std::move(lowered)};
}

ContextPlan plan_of(const ContextRow& row, Balancer balancer, int64_t ranks) {
  return balance(row, {.balancer = balancer, .ranks = ranks});
}

/// Each rank one piece.
ContextPlan pieces(const std::vector<int64_t>& counts) {
  ContextPlan plan;
  int64_t begin = 0;
  for (const int64_t size : counts) {
    plan.ranks.push_back({{begin, begin + size}});
    begin += size;
  }
  return plan;
}

TEST(PlanFigures, SumUpWorkAndWhatIsNeededInAllLayers) {
  const ContextRow row = row_of({4}, {{"causal", 3}, {"causal & sliding_window(1)", 2}});
  const PlanFigures figures = figures_of({row}, {pieces({2, 2})});
  EXPECT_THAT(figures.tokens, ElementsAre(2, 2));
  EXPECT_THAT(figures.work, ElementsAre(3 * 3 + 2 * 2, 3 * 7 + 2 * 2));
  EXPECT_THAT(figures.needed, ElementsAre(0, 3 * 2));
  EXPECT_THAT(figures.all, ElementsAre(5 * 2, 5 * 2));
  EXPECT_DOUBLE_EQ(figures.mean_work(), 19);
  EXPECT_DOUBLE_EQ(figures.max_over_mean(), 25.0 / 19);
  EXPECT_DOUBLE_EQ(figures.lower_bound(), 1);
}

TEST(PlanFigures, OfSeveralRowsTakeThemTogether) {
  const ContextRow row = row_of({4}, {{"causal", 1}});
  ContextPlan turned = pieces({2, 2});
  std::swap(turned.ranks[0], turned.ranks[1]);
  const PlanFigures figures = figures_of({row, row}, {pieces({2, 2}), turned});
  EXPECT_THAT(figures.work, ElementsAre(10, 10));
  EXPECT_THAT(figures.needed, ElementsAre(2, 2));
  EXPECT_DOUBLE_EQ(figures.max_over_mean(), 1);
  EXPECT_DOUBLE_EQ(figures.lower_bound(), 1);
}

TEST(PlanFigures, BoundIsThatOfTheCostliestTokenWhereNoPlanIsEven) {
  // The last token sees 3 keys; the others see themselves.
  const ContextRow row = row_of({1, 1, 1}, {{"document | (causal & ~chunk(2))", 1}});
  const PlanFigures figures = figures_of({row}, {pieces({1, 1, 1})});
  EXPECT_THAT(figures.work, ElementsAre(1, 1, 3));
  EXPECT_DOUBLE_EQ(figures.lower_bound(), 3 / (5.0 / 3));
}

TEST(PlanFigures, RefusePlansThatDoNotFitTheRows) {
  const ContextRow row = row_of({4}, {{"causal", 1}});
  EXPECT_THAT([&] { figures_of({row}, {}); }, ThrowsMessage<Error>(HasSubstr("1 rows and 0")));
  EXPECT_THAT([&] { figures_of({}, {}); }, ThrowsMessage<Error>(HasSubstr("0 rows and 0")));
  EXPECT_THAT(
      [&] {
        figures_of({row, row}, {pieces({2, 2}), pieces({4})});
      },
      ThrowsMessage<Error>(HasSubstr("1 ranks beside one for 2")));
  EXPECT_THAT(
      [&] {
        figures_of({row}, {pieces({2, 1})});
      },
      ThrowsMessage<Error>(HasSubstr("3 tokens for a row of 4")));
}

TEST(PlanText, DrawsEachRanksShareOfEachCell) {
  // 64 cells of 4 tokens, of which rank 0 owns 4, 3, 2, 1 and 0.
  const ContextRow row = row_of({256}, {{"causal", 1}});
  ContextPlan plan;
  plan.ranks = {{{0, 7}, {8, 10}, {12, 13}}, {{7, 8}, {10, 12}, {13, 256}}};
  EXPECT_THAT(plan_text({row}, {plan}, {}),
              AllOf(HasSubstr("\n   0 |█▓▒░   "), HasSubstr("\n   1 | ░▒▓███")));
}

TEST(PlanText, HasOneCellATokenInShortRows) {
  const ContextRow row = row_of({4}, {{"causal", 1}});
  EXPECT_EQ(plan_text({row}, {pieces({2, 2})}, {.balancer = Balancer::kNone}),
            "context parallel over 2 ranks, balancer none\n"
            "rank            tokens  work/mean  K/V tokens needed from others\n"
            "   0 |██  |          2      0.600             0 (0.0 %)\n"
            "   1 |  ██|          2      1.400             2 (100.0 %)\n"
            "max/mean work 1.400, at best 1.000\n");
}

TEST(PlanText, ShowsRowsWithEqualPlansOnce) {
  const ContextRow row = row_of({4}, {{"causal", 1}});
  const ContextPlan a = pieces({2, 2});
  const ContextPlan b = pieces({1, 3});
  const std::string text = plan_text({row, row, row, row}, {a, a, b, a}, {});
  EXPECT_THAT(text,
              AllOf(HasSubstr("\nrows 0 to 1, 3: max/mean work 1.400"),
                    HasSubstr("\n   1 |  ██|          6      1.400             6 (100.0 %)\n"),
                    HasSubstr("\nrow 2: max/mean work 1.800"),
                    HasSubstr("\nall rows: max/mean work 1.500, at best 1.000\n")));
}

TEST(PlanText, SaysWhatEachMasksMethodCosts) {
  const ContextRow row = row_of({4}, {{"causal", 3}, {"full", 1}});
  PlanReport report;
  report.costs = {{ContextMethod::kNeeded, 1.25, {0, 3 << 20}, 0.0125},
                  {ContextMethod::kRing, 1, {100, 90}, 2}};
  report.model.heads = 7;
  report.plan_milliseconds = 0.5;
  EXPECT_THAT(
      plan_text({row}, {pieces({2, 2})}, report),
      AllOf(HasSubstr("balancer joint, planned in 0.500 ms\n"),
            HasSubstr("mask \"causal\", 3 layers: needed, max/mean work 1.250, at most 3.0 MiB to "
                      "a rank, 12.5 ms a layer\n"),
            HasSubstr("mask \"full\", 1 layer: ring, max/mean work 1.000, at most 100 bytes to a "
                      "rank, 2.00 s a layer\n"),
            HasSubstr("expected 2.04 s of attention in 4 layers"), HasSubstr("7 heads")));
  report.costs.pop_back();
  EXPECT_THAT(
      [&] {
        plan_text({row}, {pieces({2, 2})}, report);
      },
      ThrowsMessage<Error>(HasSubstr("costs of 1 masks for rows with 2")));
}

/// The colours of the cells of an SVG.
std::set<std::string> painted_colours(const std::string& svg) {
  const std::string before = "<path fill='";
  std::set<std::string> colours;
  for (size_t at = svg.find(before); at != std::string::npos; at = svg.find(before, at + 1))
    colours.insert(svg.substr(at + before.size(), 7));
  return colours;
}

TEST(PlanSvg, PaintsTheQueriesOfEachRankInItsColour) {
  const ContextRow row = row_of({4}, {{"causal", 1}});
  const std::string svg = plan_svg(row, pieces({1, 3}), {}, "a < b & c");
  EXPECT_THAT(svg, AllOf(StartsWith("<svg "), HasSubstr("d='M0 0h1v1h-1z'"),
                         HasSubstr("d='M0 1h2v1h-2zM0 2h3v1h-3zM0 3h4v1h-4z'"),
                         HasSubstr("a &lt; b &amp; c"), Not(HasSubstr("doc 0"))));
  EXPECT_EQ(painted_colours(svg).size(), 2u);
}

TEST(PlanSvg, NamesDocumentsMasksAndFigures) {
  const ContextRow row = row_of({100, 300}, {{"causal", 3}, {"causal & document", 1}});
  PlanReport report;
  report.balancer = Balancer::kHeadTail;
  report.costs.resize(2);
  const ContextPlan plan = plan_of(row, Balancer::kHeadTail, 4);
  EXPECT_THAT(plan_svg(row, plan, report, "two"),
              AllOf(HasSubstr(">doc 0<"), HasSubstr(">doc 1<"), HasSubstr(">causal, 3 layers<"),
                    HasSubstr(">causal &amp; document, 1 layer<"),
                    HasSubstr("400 tokens over 4 ranks, balancer headtail: max/mean work"),
                    HasSubstr("causal: allgather"), HasSubstr("in 4 layers")));
}

TEST(PlanSvg, StaysSmallAndShowsAllRanksHoweverSmallTheirParts) {
  const ContextRow row = row_of(std::vector<int64_t>(64, 2048), {{"causal & document", 1}});
  const ContextPlan plan = plan_of(row, Balancer::kPerDocument, 64);
  const std::string svg = plan_svg(row, plan, {}, "many");
  EXPECT_LT(svg.size(), 300000u);
  EXPECT_EQ(painted_colours(svg).size(), 64u);
}

TEST(PlanSvg, CutsTheLastCellWhereTheRowEnds) {
  // 513 tokens make 257 cells of 2, the last one half.
  const ContextRow row = row_of({513}, {{"causal", 1}});
  EXPECT_THAT(plan_svg(row, pieces({256, 257}), {}, "odd"),
              HasSubstr("viewBox='0 0 256.5000 256.5000'"));
}

TEST(PlanSvg, TakesARowWithoutMasks) {
  EXPECT_THAT(plan_svg(row_of({4}, {}), pieces({2, 2}), {}, "nothing"),
              HasSubstr("max/mean work 1.000"));
}

}  // namespace
}  // namespace coeus
