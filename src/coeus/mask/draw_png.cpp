#include <png.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "coeus/base/error.h"
#include "coeus/mask/draw.h"
#include "coeus/mask/picture.h"

namespace coeus {
namespace {

using Colour = std::array<uint8_t, 3>;

constexpr Colour kEmpty{0xee, 0xf1, 0xf6};
constexpr Colour kPartialGround{0xfb, 0xe3, 0xbd};
constexpr Colour kPartial{0xec, 0x9a, 0x29};
constexpr Colour kFull{0x2a, 0x5e, 0xa8};
constexpr Colour kLine{0xff, 0xff, 0xff};
constexpr Colour kBoundary{0x1d, 0x24, 0x33};

Colour blend(const Colour& from, const Colour& to, double share) {
  Colour mixed;
  for (size_t i = 0; i < mixed.size(); ++i) {
    mixed[i] = static_cast<uint8_t>(std::lround(from[i] + share * (to[i] - from[i])));
  }
  return mixed;
}

struct Image {
  int64_t width;
  int64_t height;
  std::vector<Colour> pixels;
  Colour& at(int64_t y, int64_t x) { return pixels[y * width + x]; }
};

enum class Fill : uint8_t { kEmpty, kPartial, kFull };

std::vector<Fill> tile_row(const BlockMaskRow& row, int64_t tile) {
  std::vector<Fill> fills(row.key_tiles(), Fill::kEmpty);
  const TileLists& lists = row.by_query;
  for (int64_t j = lists.full_offsets[tile]; j < lists.full_offsets[tile + 1]; ++j) {
    std::fill(fills.begin() + lists.full_ranges[2 * j],
              fills.begin() + lists.full_ranges[2 * j + 1], Fill::kFull);
  }
  for (int64_t j = lists.partial_offsets[tile]; j < lists.partial_offsets[tile + 1]; ++j) {
    fills[lists.partial_tiles[j]] = Fill::kPartial;
  }
  return fills;
}

void draw_tiles(const BlockMaskRow& row, Image& image) {
  const int64_t cell_q = (row.query_length + image.height - 1) / image.height;
  const int64_t cell_k = (row.key_length + image.width - 1) / image.width;
  const MaskPicture picture = picture_of(row, cell_q, cell_k);
  const bool shows_lines = image.width / row.key_tiles() >= 8;
  int64_t last_tile = -1;
  std::vector<Fill> fills;
  for (int64_t y = 0; y < image.height; ++y) {
    const int64_t q = y * row.query_length / image.height;
    const int64_t tile = q / row.tile_q;
    const bool starts_tile = tile != last_tile;
    if (starts_tile) fills = tile_row(row, tile);
    int64_t last_key_tile = 0;
    for (int64_t x = 0; x < image.width; ++x) {
      const int64_t k = x * row.key_length / image.width;
      const int64_t key_tile = k / row.tile_k;
      const double share = picture.share(q / cell_q, k / cell_k);
      const Fill fill = fills[key_tile];
      Colour& pixel = image.at(y, x);
      pixel = fill == Fill::kFull                   ? kFull
              : fill == Fill::kPartial || share > 0 ? blend(kPartialGround, kPartial, share)
                                                    : kEmpty;
      if (shows_lines && ((starts_tile && tile > 0) || key_tile != last_key_tile)) pixel = kLine;
      last_key_tile = key_tile;
    }
    last_tile = tile;
  }
}

/// Dashed lines where documents begin, as far as they can be told apart.
void draw_boundaries(const SequenceLayout& layout, Image& image) {
  constexpr int64_t kDash = 6;
  const auto rows = document_boundaries(*layout.query());
  const auto columns = document_boundaries(*layout.key());
  if (static_cast<int64_t>(std::max(rows.size(), columns.size())) > image.width / 8) return;
  for (const int64_t q : rows) {
    const int64_t y = q * image.height / layout.query_length();
    for (int64_t x = 0; x < image.width; ++x) {
      if (x / kDash % 2 == 0) image.at(y, x) = kBoundary;
    }
  }
  for (const int64_t k : columns) {
    const int64_t x = k * image.width / layout.key_length();
    for (int64_t y = 0; y < image.height; ++y) {
      if (y / kDash % 2 == 0) image.at(y, x) = kBoundary;
    }
  }
}

std::string encode(const Image& image) {
  png_image png{};
  png.version = PNG_IMAGE_VERSION;
  png.width = static_cast<png_uint_32>(image.width);
  png.height = static_cast<png_uint_32>(image.height);
  png.format = PNG_FORMAT_RGB;
  std::string bytes(PNG_IMAGE_PNG_SIZE_MAX(png), '\0');
  png_alloc_size_t size = bytes.size();
  const int is_written =
      png_image_write_to_memory(&png, bytes.data(), &size, 0, image.pixels.data(), 0, nullptr);
  COEUS_CHECK(is_written != 0, "[draw_png] libpng could not encode {} x {} pixels: {}", image.width,
              image.height, png.message);
  bytes.resize(size);
  return bytes;
}

}  // namespace

std::string draw_png(const BlockMaskRow& row, const SequenceLayout& layout, int64_t pixels) {
  COEUS_CHECK(pixels >= 1 && pixels <= 16384, "[draw_png] the width must be 1 to 16384, got {}",
              pixels);
  COEUS_CHECK(row.query_length > 0 && row.key_length > 0,
              "[draw_png] a mask of {} queries and {} keys has no picture", row.query_length,
              row.key_length);
  COEUS_CHECK(layout.query_length() == row.query_length && layout.key_length() == row.key_length,
              "[draw_png] the layout has {} queries and {} keys, the mask {} and {}",
              layout.query_length(), layout.key_length(), row.query_length, row.key_length);
  Image image{
      pixels, std::clamp<int64_t>(pixels * row.query_length / row.key_length, 1, 16384), {}};
  image.pixels.resize(image.width * image.height);
  draw_tiles(row, image);
  draw_boundaries(layout, image);
  return encode(image);
}

}  // namespace coeus
