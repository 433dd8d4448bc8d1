// Pictures of lowered masks: for a terminal, a page and a slide.
#pragma once

#include <cstdint>
#include <string>

#include "coeus/mask/block_mask.h"
#include "coeus/mask/sequence_layout.h"

namespace coeus {

/// Lines of text, two characters a cell: one cell a tile, or a share of the row each when it has
/// more than `most_cells` tiles a side. `█` all visible, `░▒▓` some, `·` none.
std::string draw_for_terminal(const BlockMaskRow& row, int64_t most_cells = 32);

/// An SVG page: full tiles, partial tiles with what is visible in them, tile lines, document
/// boundaries and their names, and `title` with the tile counts below.
std::string draw_svg(const BlockMaskRow& row, const SequenceLayout& layout,
                     const std::string& title);

/// A PNG file's bytes: the picture without text, `pixels` wide.
/// Throws Error when the image cannot be encoded.
std::string draw_png(const BlockMaskRow& row, const SequenceLayout& layout, int64_t pixels = 1024);

/// The whole mask as lines of 0 and 1.
std::string draw_dense(const BlockMask& mask, int64_t row);

}  // namespace coeus
