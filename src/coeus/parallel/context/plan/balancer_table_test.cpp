#include "coeus/parallel/context/plan/balancer_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>

#include "coeus/base/error.h"
#include "coeus/mask/lower.h"

namespace coeus {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::Pair;

/// What `action` throws, as text.
template <class Action>
std::string complaint(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

/// A row of 1,024 tokens of one document under a causal mask, on two ranks.
BalancerTableOptions small_options() {
  BalancerTableOptions options;
  options.tokens = {1024};
  options.ranks = {2};
  options.documents = {DocumentMix::kOne};
  options.masks = {MaskMix::kCausal};
  options.balancers = {Balancer::kNone, Balancer::kHeadTail};
  return options;
}

/// Rows of two masks, of which the balancers cannot please both.
BalancerTableOptions two_masks_options() {
  BalancerTableOptions options = small_options();
  options.tokens = {16384};
  options.ranks = {4, 8};
  options.documents = {DocumentMix::kExponential};
  options.masks = {MaskMix::kWindowGlobal};
  options.balancers = {Balancer::kPerDocument, Balancer::kPtrr};
  return options;
}

std::vector<int64_t> lengths_of_many_rows(DocumentMix mix, int64_t tokens) {
  std::vector<int64_t> lengths;
  for (int64_t row = 0; row < 200; ++row) {
    const std::vector<int64_t> of_row = document_lengths(mix, tokens, 1, row);
    // The last one is cut.
    lengths.insert(lengths.end(), of_row.begin(), of_row.end() - 1);
  }
  std::sort(lengths.begin(), lengths.end());
  return lengths;
}

TEST(BalancerTable, DocumentsOfEveryMixFillARowOfAnyLength) {
  for (const DocumentMix mix : {DocumentMix::kUniform, DocumentMix::kExponential,
                                DocumentMix::kLongTail, DocumentMix::kOne})
    for (const int64_t tokens : {1, 63, 1000, 100003}) {
      const std::vector<int64_t> lengths = document_lengths(mix, tokens, 1, 0);
      EXPECT_EQ(std::accumulate(lengths.begin(), lengths.end(), int64_t{0}), tokens);
      EXPECT_GE(*std::min_element(lengths.begin(), lengths.end()), 1);
    }
}

TEST(BalancerTable, DrawnDocumentsDependOnSeedAndRowAlone) {
  const auto draw = [](uint64_t seed, int64_t row) {
    return document_lengths(DocumentMix::kLongTail, 100000, seed, row);
  };
  EXPECT_EQ(draw(1, 0), draw(1, 0));
  EXPECT_NE(draw(1, 0), draw(1, 1));
  EXPECT_NE(draw(1, 0), draw(2, 0));
}

TEST(BalancerTable, ExponentialDocumentsHaveTheirMean) {
  const std::vector<int64_t> lengths = lengths_of_many_rows(DocumentMix::kExponential, 1 << 18);
  const auto sum = static_cast<double>(std::accumulate(lengths.begin(), lengths.end(), int64_t{0}));
  EXPECT_NEAR(sum / static_cast<double>(lengths.size()), 2048, 60);
}

TEST(BalancerTable, OneDocumentIn32OfALongTailIsLong) {
  constexpr int64_t kTokens = 1 << 18;
  const std::vector<int64_t> lengths = lengths_of_many_rows(DocumentMix::kLongTail, kTokens);
  // Long ones end most rows and are left out there with the last, so there are fewer than 1 in 32.
  const auto count = static_cast<double>(lengths.size());
  const auto is_long = [](int64_t length) { return length >= kTokens / 16; };
  const auto long_ones =
      static_cast<double>(std::count_if(lengths.begin(), lengths.end(), is_long));
  EXPECT_GT(long_ones / count, 1.0 / 64);
  EXPECT_LT(long_ones / count, 1.0 / 32);
  EXPECT_NEAR(static_cast<double>(lengths[lengths.size() / 2]), 1024, 80);
  EXPECT_GT(lengths.back(), kTokens / 2);
}

TEST(BalancerTable, NamesAreReadBackAndOthersRefused) {
  for (const char* name : {"uniform", "exponential", "long_tail", "one"})
    EXPECT_EQ(name_of(document_mix_from_name(name)), name);
  for (const char* name : {"causal", "documents", "irope", "window_global"})
    EXPECT_EQ(name_of(mask_mix_from_name(name)), name);
  EXPECT_THAT(complaint([] { document_mix_from_name("longtail"); }),
              AllOf(HasSubstr("\"longtail\""), HasSubstr("long_tail")));
  EXPECT_THAT(complaint([] { mask_mix_from_name("window"); }), HasSubstr("window_global"));
}

TEST(BalancerTable, MeasuresWorkBytesAndTimeOfAPlan) {
  const BalancerTable table = measure_balancers(small_options());
  ASSERT_EQ(table.cases.size(), 1U);
  const BalancerCase& of = table.cases[0];
  // Rank 1 has the later half: queries that see 513 to 1,024 keys.
  const double work = 1024.0 * 1025 / 2;
  const BalancerFigures& none = of.of(Balancer::kNone);
  EXPECT_NEAR(none.imbalance, (work - 512.0 * 513 / 2) / (work / 2), 1e-12);
  EXPECT_NEAR(of.of(Balancer::kHeadTail).imbalance, 1, 1e-12);
  EXPECT_NEAR(of.least_imbalance, 1, 1e-5);
  EXPECT_EQ(of.rows, 1);

  const auto token = static_cast<double>(table.options.model.key_value_bytes());
  EXPECT_EQ(none.of(ContextMethod::kAllGather).mean_bytes, 512 * token);
  EXPECT_EQ(none.of(ContextMethod::kAllGather).most_bytes, 512 * token);
  EXPECT_EQ(none.of(ContextMethod::kNeeded).mean_bytes, 256 * token);
  EXPECT_EQ(none.of(ContextMethod::kNeeded).most_bytes, 512 * token);
  double least = none.methods[0].seconds;
  for (const MethodFigures& method : none.methods) least = std::min(least, method.seconds);
  EXPECT_EQ(none.best_seconds, least);
  EXPECT_GT(least, of.ideal_seconds);
}

TEST(BalancerTable, PerfectDivisionTakesAnEvenShareOfOneRanksTime) {
  BalancerTableOptions options = small_options();
  options.ranks = {1, 4};
  options.tokens = {4096};
  const BalancerTable table = measure_balancers(options);
  const double alone = table.cases[0].of(Balancer::kNone).of(ContextMethod::kNeeded).seconds;
  EXPECT_DOUBLE_EQ(table.cases[0].ideal_seconds, alone);
  EXPECT_DOUBLE_EQ(table.cases[1].ideal_seconds, alone / 4);
}

TEST(BalancerTable, FiguresOfSeveralMasksAreMeansOverTheLayers) {
  BalancerTableOptions options = two_masks_options();
  options.rows = 1;
  options.ranks = {4};
  const BalancerTable table = measure_balancers(options);
  const BalancerFigures& figures = table.cases[0].of(Balancer::kPtrr);

  const SequenceLayout layout = SequenceLayout::from_document_lengths(
      document_lengths(DocumentMix::kExponential, 16384, options.seed, 0));
  std::vector<LayersMask> masks;
  for (const NamedMask& mask : masks_of(MaskMix::kWindowGlobal))
    masks.push_back({mask.name, lower_row(mask.mask, layout), mask.layers});
  const ContextRow row(layout, masks);
  const ContextPlan plan = balance(row, {.balancer = Balancer::kPtrr, .ranks = 4});
  const auto seconds = [&](size_t mask) {
    return cost_of(ContextMethod::kNeeded, {row}, {plan}, mask, options.model).seconds;
  };
  EXPECT_DOUBLE_EQ(figures.of(ContextMethod::kNeeded).seconds, (5 * seconds(0) + seconds(1)) / 6);
  EXPECT_DOUBLE_EQ(figures.imbalance, load_of(row, plan).imbalance());
}

TEST(BalancerTable, WaitingInEveryLayerIsNeverBetterThanOnceForAllLayers) {
  const BalancerTable table = measure_balancers(two_masks_options());
  bool differs = false;
  for (const BalancerCase& of : table.cases)
    for (const BalancerFigures& plan : of.plans) {
      EXPECT_GE(plan.layer_imbalance, plan.imbalance - 1e-9);
      EXPECT_GE(plan.worst_imbalance, plan.imbalance - 1e-9);
      differs |= plan.layer_imbalance > plan.imbalance + 1e-3;
    }
  EXPECT_TRUE(differs);
}

TEST(BalancerTable, FewerRowsAreDrawnWhereTheyAreLong) {
  BalancerTableOptions options = two_masks_options();
  options.balancers = {Balancer::kNone};
  options.methods = {ContextMethod::kAllGather};
  options.tokens = {16384, 1 << 18};
  options.ranks = {8};
  options.rows = 3;
  const BalancerTable table = measure_balancers(options);
  EXPECT_EQ(table.cases[0].rows, 3);
  EXPECT_EQ(table.cases[1].rows, 2);
}

TEST(BalancerTable, LeavesOutWhatSaysNothingAndSaysSo) {
  BalancerTableOptions options = small_options();
  options.ranks = {2, 4, 8};
  options.documents = {DocumentMix::kUniform, DocumentMix::kOne};
  int64_t reported = 0;
  const BalancerTable table = measure_balancers(options, [&](const BalancerCase&) { ++reported; });
  EXPECT_EQ(table.cases.size(), 1U);
  EXPECT_EQ(reported, 1);
  EXPECT_THAT(table.left_out, ElementsAre(HasSubstr("1024 tokens on 4, 8 ranks"),
                                          HasSubstr("mask causal with documents uniform")));

  // With nothing to take its place it is measured.
  options.documents = {DocumentMix::kUniform};
  EXPECT_EQ(measure_balancers(options).cases[0].documents, DocumentMix::kUniform);
}

TEST(BalancerTable, RefusesOptionsOutOfRange) {
  BalancerTableOptions options = small_options();
  options.tokens = {0};
  EXPECT_THROW(measure_balancers(options), ConfigError);
  options = small_options();
  options.ranks = {0};
  EXPECT_THROW(measure_balancers(options), ConfigError);
  options = small_options();
  options.methods.clear();
  EXPECT_THROW(measure_balancers(options), ConfigError);
  options = small_options();
  options.ranks = {64};
  const BalancerTable table = measure_balancers(options);
  EXPECT_THROW(table_markdown(table), ConfigError);
  EXPECT_THAT(complaint([&] { table_markdown(table); }), HasSubstr("1024 tokens on 64 ranks"));
  EXPECT_THAT(complaint([&] { table_plots(table); }), HasSubstr("nothing was measured"));
}

TEST(BalancerTable, FiguresThatWereNotMeasuredAreNamed) {
  const BalancerTable table = measure_balancers(small_options());
  EXPECT_THAT(complaint([&] { table.cases[0].of(Balancer::kJoint); }), HasSubstr("joint"));
  EXPECT_THAT(complaint([] { BalancerFigures().of(ContextMethod::kRing); }), HasSubstr("ring"));
}

TEST(BalancerTable, JsonHoldsEveryPlan) {
  const BalancerTable table = measure_balancers(small_options());
  const auto json = nlohmann::json::parse(table_json(table));
  ASSERT_EQ(json["plans"].size(), 2U);
  EXPECT_EQ(json["plans"][1]["balancer"], "headtail");
  EXPECT_EQ(json["plans"][0]["max_over_mean"], table.cases[0].plans[0].imbalance);
  EXPECT_EQ(json["plans"][0]["needed"]["most_key_value_tokens"], 512);
  EXPECT_EQ(json["settings"]["kv_heads"], 8);
}

TEST(BalancerTable, MarkdownHasALineForEveryMixAndAFigureForEachNumberOfRanks) {
  BalancerTableOptions options = small_options();
  options.tokens = {4096};
  options.ranks = {2, 4, 8};
  const MarkdownParts parts = table_markdown(measure_balancers(options));
  const std::map<std::string, std::string> by_name(parts.begin(), parts.end());
  EXPECT_THAT(by_name.at("work"),
              AllOf(HasSubstr("Rows of 4,096 tokens on 8 ranks."),
                    HasSubstr("| masks | documents | bound | none | headtail |\n"),
                    HasSubstr("| causal | one | 1.00 | 1.87 | 1.00 |\n")));
  EXPECT_THAT(by_name.at("bytes"), HasSubstr("| allgather | 29.4 | 3,584 |"));
  EXPECT_THAT(by_name.at("layers"), Not(HasSubstr("causal")));
  EXPECT_THAT(by_name.at("settings"), Not(HasSubstr("Left out")));

  options.ranks = {2, 4};
  EXPECT_THAT(table_markdown(measure_balancers(options))[1],
              Pair("work", HasSubstr("| 1.00 / 1.00 | 1.50 / 1.75 | 1.00 / 1.00 |")));
}

TEST(BalancerTable, FillsAPageAnewAndKeepsTheRest) {
  const MarkdownParts first = {{"work", "1\n"}, {"time", "2\n"}};
  const std::string page = "words\n<!-- balancers: time -->\nold\n<!-- end -->\nmore\n";
  EXPECT_EQ(with_parts(page, first), "words\n<!-- balancers: time -->\n2\n<!-- end -->\nmore\n");
  const MarkdownParts second = {{"work", "3\n"}, {"time", "4\n"}};
  EXPECT_EQ(with_parts(page_of(first), second), page_of(second));
}

TEST(BalancerTable, RefusesAPageThatItCannotFill) {
  const MarkdownParts parts = {{"work", "1\n"}};
  EXPECT_THAT(complaint([&] { with_parts("words\n", parts); }), HasSubstr("no line"));
  EXPECT_THAT(complaint([&] { with_parts("<!-- balancers: works -->\n<!-- end -->\n", parts); }),
              HasSubstr("balancers: works"));
  EXPECT_THAT(complaint([&] {
                with_parts("<!-- balancers: work -->\n1\n<!-- balancers: work -->\n<!-- end -->\n",
                           parts);
              }),
              HasSubstr("after it"));
  EXPECT_THAT(complaint([&] { with_parts("<!-- balancers: work -->", parts); }),
              HasSubstr("after it"));
  EXPECT_THAT(complaint([] { check_page("<!-- balancers: works -->\n<!-- end -->\n"); }),
              HasSubstr("works"));
  EXPECT_NO_THROW(check_page(page_of(table_markdown(measure_balancers(small_options())))));
}

TEST(BalancerTable, PlotsHaveACurveForEachBalancer) {
  const auto plots = table_plots(measure_balancers(two_masks_options()));
  std::vector<std::string> names;
  for (const auto& [name, svg] : plots) {
    names.push_back(name);
    size_t curves = 0;
    for (size_t at = svg.find("<polyline"); at != std::string::npos;
         at = svg.find("<polyline", at + 1))
      ++curves;
    EXPECT_EQ(curves, 2U) << name;
    EXPECT_THAT(svg, AllOf(HasSubstr("per_document"), HasSubstr("ptrr"), Not(HasSubstr("joint")),
                           Not(HasSubstr("nan")), Not(HasSubstr("inf"))));
  }
  EXPECT_THAT(names,
              ElementsAre("work.svg", "layers.svg", "needed.svg", "time.svg", "planning.svg"));
}

}  // namespace
}  // namespace coeus
