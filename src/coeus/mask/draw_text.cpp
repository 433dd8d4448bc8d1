#include <algorithm>
#include <string>

#include "coeus/base/error.h"
#include "coeus/mask/draw.h"
#include "coeus/mask/picture.h"

namespace coeus {
namespace {

const char* cell_text(const MaskPicture& picture, int64_t row, int64_t column) {
  const int64_t visible = picture.visible[row * picture.columns() + column];
  if (visible == 0) return "· ";
  if (visible == picture.cell_area(row, column)) return "██";
  const double share = picture.share(row, column);
  return share < 1.0 / 3 ? "░░" : share < 2.0 / 3 ? "▒▒" : "▓▓";
}

}  // namespace

std::string draw_for_terminal(const BlockMaskRow& row, int64_t most_cells) {
  COEUS_CHECK(most_cells >= 1, "[draw_for_terminal] needs at least 1 cell, got {}", most_cells);
  const int64_t tiles = std::max(row.query_tiles(), row.key_tiles());
  const int64_t tiles_a_cell = std::max<int64_t>(1, (tiles + most_cells - 1) / most_cells);
  const MaskPicture picture = picture_of(row, row.tile_q * tiles_a_cell, row.tile_k * tiles_a_cell);
  std::string text;
  for (int64_t i = 0; i < picture.rows(); ++i) {
    for (int64_t j = 0; j < picture.columns(); ++j) text += cell_text(picture, i, j);
    text += '\n';
  }
  text += fmt::format("one cell: {} x {} tokens ({}); ██ all visible, ░▒▓ some, · none\n",
                      picture.cell_q, picture.cell_k,
                      tiles_a_cell == 1 ? "a tile" : fmt::format("{0} x {0} tiles", tiles_a_cell));
  return text;
}

std::string draw_dense(const BlockMask& mask, int64_t row) {
  const std::vector<uint8_t> dense = mask.to_dense(row);
  const int64_t keys = mask.key_length();
  std::string text;
  text.reserve(dense.size() + mask.query_length());
  for (int64_t q = 0; q < mask.query_length(); ++q) {
    for (int64_t k = 0; k < keys; ++k) text += dense[q * keys + k] != 0 ? '1' : '0';
    text += '\n';
  }
  return text;
}

}  // namespace coeus
