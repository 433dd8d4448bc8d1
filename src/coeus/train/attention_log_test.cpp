#include "coeus/train/attention_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "coeus/mask/lower.h"

namespace coeus {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

std::vector<SequenceLayout> rows() {
  return {SequenceLayout::from_document_lengths(std::vector<int64_t>{2, 2}),
          SequenceLayout::from_document_lengths(std::vector<int64_t>{1, 3})};
}

TEST(MasksText, ShowsEveryMaskByNameAndItsDistinctRows) {
  const LowerOptions single_tokens = {1, 1};
  const AttentionMasks masks = {{"nope", lower(parse_mask("causal"), rows(), single_tokens)},
                                {"rope", lower(parse_mask("document"), rows(), single_tokens)}};
  EXPECT_EQ(masks_text(masks),
            "masks of the first batch:\n"
            "mask \"nope\": 2 rows of 4 queries and 4 keys, 20 pairs visible, 37.50% hidden; tiles "
            "of 1 x 1: 20 full, 0 partial, 12 empty; " +
                std::to_string(masks.at("nope").bytes()) +
                " bytes\n"
                "rows 0 to 1:\n"
                "██· · · \n"
                "████· · \n"
                "██████· \n"
                "████████\n"
                "one cell: 1 x 1 tokens (a tile); ██ all visible, ░▒▓ some, · none\n"
                "mask \"rope\": 2 rows of 4 queries and 4 keys, 18 pairs visible, 43.75% hidden; "
                "tiles of 1 x 1: 18 full, 0 partial, 14 empty; " +
                std::to_string(masks.at("rope").bytes()) +
                " bytes\n"
                "row 0:\n"
                "████· · \n"
                "████· · \n"
                "· · ████\n"
                "· · ████\n"
                "one cell: 1 x 1 tokens (a tile); ██ all visible, ░▒▓ some, · none\n"
                "row 1:\n"
                "██· · · \n"
                "· ██████\n"
                "· ██████\n"
                "· ██████\n"
                "one cell: 1 x 1 tokens (a tile); ██ all visible, ░▒▓ some, · none");
}

TEST(EngineLines, AreOneForEachMaskAndEngine) {
  const AttentionMasks masks = {{"nope", lower(parse_mask("causal"), rows())},
                                {"rope", lower(parse_mask("document"), rows())}};
  AttentionReport report;
  const EngineChoice sdpa = {AttentionEngine::kSdpa, "it is cheap"};
  report.add_choice("layers.0.attention", sdpa, masks.at("rope"));
  report.add_choice("layers.1.attention", sdpa, masks.at("rope"));
  report.add_choice("layers.2.attention", {AttentionEngine::kBlockSparse, "it is cheaper"},
                    masks.at("nope"));
  report.add_choice("layers.3.attention", sdpa, lower(parse_mask("full"), rows()));
  report.add_choice("layers.0.attention", {AttentionEngine::kReference, "too late"},
                    masks.at("rope"));
  EXPECT_THAT(
      engine_lines(report.layers(), masks),
      ElementsAre(
          "attention under mask \"rope\": sdpa in layers.0.attention and 1 more layers; it is "
          "cheap",
          "attention under mask \"nope\": block_sparse in layers.2.attention; it is cheaper",
          "attention under a mask: sdpa in layers.3.attention; it is cheap"));
}

TEST(AttentionCheckTable, ShowsTheWorstOfEachLayer) {
  AttentionReport report;
  report.add_forward_check("layers.0.attention", 1e-3);
  report.add_forward_check("layers.0.attention", 2e-3);
  report.add_forward_check("layers.0.attention", 1e-3);
  report.add_backward_check("layers.0.attention", {.grad_q = 3e-3, .grad_k = 4e-3, .grad_v = 5e-3});
  report.add_forward_check("layers.1.attention", std::nan(""));
  report.add_forward_check("layers.1.attention", 7e-3);
  const std::string table = attention_check_table(report.layers());
  EXPECT_THAT(table, HasSubstr("layers.0.attention  auto           2.00e-03   3.00e-03   4.00e-03"
                               "   5.00e-03        3"));
  EXPECT_THAT(table, AllOf(HasSubstr("nan"), Not(HasSubstr("7.00e-03"))));
  const Scalars scalars = attention_check_metrics(report.worst());
  ASSERT_EQ(scalars.size(), 4U);
  EXPECT_EQ(scalars[0].first, "attention_check/output");
  EXPECT_TRUE(std::isnan(scalars[0].second));
  EXPECT_EQ(scalars[3], (std::pair<std::string, double>{"attention_check/grad_v", 5e-3}));
}

}  // namespace
}  // namespace coeus
