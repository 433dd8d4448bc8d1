#include "coeus/mask/draw.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <png.h>

#include <array>
#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

#include "coeus/base/error.h"
#include "coeus/mask/lower.h"
#include "coeus/mask/picture.h"
#include "coeus/mask/random_case.h"
#include "coeus/mask/select.h"

namespace coeus {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using ::testing::ThrowsMessage;

SequenceLayout documents(const std::vector<int64_t>& lengths) {
  return SequenceLayout::from_document_lengths(lengths);
}

BlockMask lower_one(const char* mask, const SequenceLayout& layout, int64_t tile) {
  return lower(parse_mask(mask), std::vector{layout}, {tile, tile});
}

TEST(MaskPicture, CountsTheVisiblePairsOfEachCellForAnyMaskAndLayout) {
  for (int64_t i = 0; i < 200; ++i) {
    testing::Random random(i);
    testing::RandomCase test = testing::random_layout(random, 60);
    test.mask = testing::random_mask(random, test.tokens.size(), 3);
    const BlockMask lowered = lower(test.mask, std::vector{test.layout()}, test.options);
    const int64_t cell_q = testing::draw(random, 1, 9);
    const int64_t cell_k = testing::draw(random, 1, 9);
    const MaskPicture picture = picture_of(lowered.row(0), cell_q, cell_k);
    std::vector<int64_t> expected(picture.rows() * picture.columns());
    const auto dense = lowered.to_dense(0);
    for (int64_t q = 0; q < picture.queries; ++q) {
      for (int64_t k = 0; k < picture.keys; ++k) {
        expected[q / cell_q * picture.columns() + k / cell_k] += dense[q * picture.keys + k];
      }
    }
    ASSERT_EQ(picture.visible, expected) << test.to_code();
  }
}

TEST(MaskPicture, FindsWhereDocumentsBeginInStorage) {
  const auto layout = documents({2, 3, 1});
  EXPECT_THAT(document_boundaries(*layout.key()), ElementsAre(2, 5));
  const auto shuffled = select_keys(layout, std::vector<int64_t>{5, 0, 1});
  EXPECT_THAT(document_boundaries(*shuffled.key()), ElementsAre(1));
}

TEST(DrawForTerminal, ShowsFullPartialAndEmptyTiles) {
  EXPECT_THAT(draw_for_terminal(lower_one("causal", documents({12}), 4).row(0)),
              StartsWith("▒▒· · \n"
                         "██▒▒· \n"
                         "████▒▒\n"
                         "one cell: 4 x 4 tokens (a tile)"));
}

TEST(DrawForTerminal, PutsTilesTogetherWhereThereAreTooMany) {
  EXPECT_THAT(draw_for_terminal(lower_one("causal & document", documents({8, 8}), 2).row(0), 4),
              StartsWith("▒▒· · · \n"
                         "██▒▒· · \n"
                         "· · ▒▒· \n"
                         "· · ██▒▒\n"
                         "one cell: 4 x 4 tokens (2 x 2 tiles)"));
}

TEST(DrawDense, PrintsOneLineAQuery) {
  EXPECT_EQ(draw_dense(lower_one("sliding_window(2)", documents({3}), 2), 0), "100\n110\n011\n");
}

TEST(DrawSvg, EscapesTheTitleAndNamesDocumentsAndCounts) {
  const auto layout = documents({20, 44});
  const std::string svg =
      draw_svg(lower_one("causal & document", layout, 8).row(0), layout, "causal & document");
  EXPECT_THAT(svg, AllOf(StartsWith("<svg "), HasSubstr("causal &amp; document"),
                         HasSubstr(">doc 0<"), HasSubstr(">doc 1<"), HasSubstr("64 keys"),
                         HasSubstr("11 full tiles"), HasSubstr("15 partial"),
                         HasSubstr("area 1200 of 4096 pairs"), Not(HasSubstr("& "))));
}

TEST(DrawSvg, StaysSmallForLongRows) {
  const auto layout = documents({200000, 324288});
  const std::string svg =
      draw_svg(lower_one("causal & document", layout, 128).row(0), layout, "long");
  EXPECT_LT(svg.size(), 1000000u);
}

TEST(DrawSvg, TakesRowsWithoutTokens) {
  const auto layout = documents({});
  EXPECT_THAT(draw_svg(lower_one("causal", layout, 8).row(0), layout, "nothing"),
              HasSubstr("0 full tiles"));
}

TEST(DrawPng, ShowsFullTilesEmptyTilesAndBoundariesInTheirColours) {
  const auto layout = documents({100, 28});
  const std::string bytes =
      draw_png(lower_one("causal & document", layout, 64).row(0), layout, 256);
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  ASSERT_NE(png_image_begin_read_from_memory(&image, bytes.data(), bytes.size()), 0);
  EXPECT_EQ(image.width, 256u);
  EXPECT_EQ(image.height, 256u);
  image.format = PNG_FORMAT_RGB;
  std::vector<uint8_t> pixels(PNG_IMAGE_SIZE(image));
  ASSERT_NE(png_image_finish_read(&image, nullptr, pixels.data(), 0, nullptr), 0);
  const auto at = [&](size_t y, size_t x) {
    const size_t first = (y * 256 + x) * 3;
    return std::array<int, 3>{pixels[first], pixels[first + 1], pixels[first + 2]};
  };
  const std::array<int, 3> empty{0xee, 0xf1, 0xf6};
  const std::array<int, 3> hidden_in_partial{0xfb, 0xe3, 0xbd};
  const std::array<int, 3> shown_in_partial{0xec, 0x9a, 0x29};
  EXPECT_EQ(at(10, 250), empty);
  EXPECT_EQ(at(10, 100), hidden_in_partial);
  EXPECT_EQ(at(100, 10), shown_in_partial);
  EXPECT_EQ(at(200, 1), (std::array<int, 3>{0x1d, 0x24, 0x33}));
}

TEST(DrawPng, RefusesSizesThatAreNone) {
  const auto layout = documents({4});
  const BlockMask mask = lower_one("causal", layout, 4);
  EXPECT_THAT([&] { draw_png(mask.row(0), layout, 0); }, ThrowsMessage<Error>(HasSubstr("got 0")));
  EXPECT_THAT([&] { draw_png(mask.row(0), documents({5}), 8); },
              ThrowsMessage<Error>(HasSubstr("5 queries")));
  const auto nothing = documents({});
  EXPECT_THAT([&] { draw_png(lower_one("causal", nothing, 4).row(0), nothing, 8); },
              ThrowsMessage<Error>(HasSubstr("0 queries")));
}

}  // namespace
}  // namespace coeus
