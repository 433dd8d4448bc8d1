#include <algorithm>
#include <string>
#include <vector>

#include "coeus/base/error.h"
#include "coeus/mask/draw.h"
#include "coeus/mask/picture.h"

namespace coeus {
namespace {

constexpr double kLongestSide = 640;
constexpr double kLeft = 86;
constexpr double kTop = 64;
constexpr const char* kEmptyColour = "#eef1f6";
constexpr const char* kPartialGround = "#fbe3bd";
constexpr const char* kPartialColour = "#ec9a29";
constexpr const char* kFullColour = "#2a5ea8";
constexpr const char* kInk = "#1d2433";
/// More documents than this are drawn without names.
constexpr size_t kMostNames = 16;
/// More cells a side than a slide can show are drawn together.
constexpr int64_t kMostCells = 512;

std::string escape(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

struct Drawing {
  const BlockMaskRow& row;
  const SequenceLayout& layout;
  double scale = 1;
  std::string out = {};

  double x(int64_t key) const { return kLeft + static_cast<double>(key) * scale; }
  double y(int64_t query) const { return kTop + static_cast<double>(query) * scale; }
  double right() const { return x(row.key_length); }
  double bottom() const { return y(row.query_length); }

  /// Keys [k0, k1) of queries [q0, q1), cut off at the row's ends.
  void rectangle(int64_t q0, int64_t q1, int64_t k0, int64_t k1, const char* colour) {
    const double to_x = x(std::min(k1, row.key_length));
    const double to_y = y(std::min(q1, row.query_length));
    out += fmt::format("<rect x='{:.2f}' y='{:.2f}' width='{:.2f}' height='{:.2f}' fill='{}'/>\n",
                       x(k0), y(q0), to_x - x(k0), to_y - y(q0), colour);
  }
  void line(double x0, double y0, double x1, double y1, const char* style) {
    out += fmt::format("<line x1='{:.2f}' y1='{:.2f}' x2='{:.2f}' y2='{:.2f}' {}/>\n", x0, y0, x1,
                       y1, style);
  }
  void text(double at_x, double at_y, const char* style, const std::string& words) {
    out +=
        fmt::format("<text x='{:.2f}' y='{:.2f}' {}>{}</text>\n", at_x, at_y, style, escape(words));
  }
};

void draw_full_tiles(Drawing& drawing) {
  const BlockMaskRow& row = drawing.row;
  const TileLists& lists = row.by_query;
  for (int64_t tile = 0; tile < row.query_tiles(); ++tile) {
    for (int64_t j = lists.full_offsets[tile]; j < lists.full_offsets[tile + 1]; ++j) {
      drawing.rectangle(tile * row.tile_q, (tile + 1) * row.tile_q,
                        lists.full_ranges[2 * j] * row.tile_k,
                        lists.full_ranges[2 * j + 1] * row.tile_k, kFullColour);
    }
  }
}

bool cell_is_in_partial_tile(const BlockMaskRow& row, int64_t q, int64_t k) {
  const TileLists& lists = row.by_query;
  const int64_t tile = q / row.tile_q;
  return std::binary_search(lists.partial_tiles.begin() + lists.partial_offsets[tile],
                            lists.partial_tiles.begin() + lists.partial_offsets[tile + 1],
                            static_cast<int32_t>(k / row.tile_k));
}

/// What partial tiles show, as runs of cells that are at least half visible.
void draw_partial_tiles(Drawing& drawing) {
  const BlockMaskRow& row = drawing.row;
  const TileLists& lists = row.by_query;
  for (int64_t tile = 0; tile < row.query_tiles(); ++tile) {
    for (int64_t j = lists.partial_offsets[tile]; j < lists.partial_offsets[tile + 1]; ++j) {
      drawing.rectangle(tile * row.tile_q, (tile + 1) * row.tile_q,
                        lists.partial_tiles[j] * row.tile_k,
                        (lists.partial_tiles[j] + 1) * row.tile_k, kPartialGround);
    }
  }
  const auto cell = [](int64_t tile, int64_t length) {
    // A cell must not reach over a tile's end.
    int64_t size = std::max<int64_t>(1, tile * kMostCells >= length ? length / kMostCells : tile);
    while (tile % size != 0) --size;
    return size;
  };
  const MaskPicture picture =
      picture_of(row, cell(row.tile_q, row.query_length), cell(row.tile_k, row.key_length));
  for (int64_t i = 0; i < picture.rows(); ++i) {
    int64_t run = -1;
    for (int64_t j = 0; j <= picture.columns(); ++j) {
      const bool shows = j < picture.columns() && 2 * picture.share(i, j) >= 1 &&
                         cell_is_in_partial_tile(row, i * picture.cell_q, j * picture.cell_k);
      if (shows && run < 0) run = j;
      if (shows || run < 0) continue;
      drawing.rectangle(i * picture.cell_q, (i + 1) * picture.cell_q, run * picture.cell_k,
                        j * picture.cell_k, kPartialColour);
      run = -1;
    }
  }
}

/// Rows with more tiles a side than can be told apart.
void draw_cells(Drawing& drawing) {
  const BlockMaskRow& row = drawing.row;
  const MaskPicture picture = picture_of(row, (row.query_length + kMostCells - 1) / kMostCells,
                                         (row.key_length + kMostCells - 1) / kMostCells);
  for (int64_t i = 0; i < picture.rows(); ++i) {
    const auto colour_of = [&](int64_t j) -> const char* {
      const int64_t visible = picture.visible[i * picture.columns() + j];
      return visible == 0                         ? nullptr
             : visible == picture.cell_area(i, j) ? kFullColour
                                                  : kPartialColour;
    };
    for (int64_t j = 0; j < picture.columns();) {
      int64_t end = j + 1;
      while (end < picture.columns() && colour_of(end) == colour_of(j)) ++end;
      if (colour_of(j) != nullptr) {
        drawing.rectangle(i * picture.cell_q, (i + 1) * picture.cell_q, j * picture.cell_k,
                          end * picture.cell_k, colour_of(j));
      }
      j = end;
    }
  }
}

void draw_tile_lines(Drawing& drawing) {
  const BlockMaskRow& row = drawing.row;
  constexpr int64_t kMostLines = 64;
  const char* const style = "stroke='#ffffff' stroke-width='0.6'";
  if (row.query_tiles() > kMostLines || row.key_tiles() > kMostLines) return;
  for (int64_t tile = 1; tile < row.query_tiles(); ++tile) {
    const double y = drawing.y(tile * row.tile_q);
    drawing.line(kLeft, y, drawing.right(), y, style);
  }
  for (int64_t tile = 1; tile < row.key_tiles(); ++tile) {
    const double x = drawing.x(tile * row.tile_k);
    drawing.line(x, kTop, x, drawing.bottom(), style);
  }
}

/// Boundaries of one side's documents with, where there is room, each one's number beside its run.
template <typename DrawLine, typename DrawName>
void draw_documents(const TokenAttributes& tokens, DrawLine draw_line, DrawName draw_name) {
  const std::vector<int64_t> boundaries = document_boundaries(tokens);
  if (boundaries.size() > static_cast<size_t>(kMostCells)) return;
  for (const int64_t boundary : boundaries) draw_line(boundary);
  if (boundaries.empty() || boundaries.size() >= kMostNames) return;
  int64_t begin = 0;
  for (size_t i = 0; i <= boundaries.size(); ++i) {
    const int64_t end = i < boundaries.size() ? boundaries[i] : tokens.size();
    draw_name(begin, end, tokens.document[begin]);
    begin = end;
  }
}

void draw_all_documents(Drawing& drawing) {
  const char* const style = "stroke='#1d2433' stroke-width='1' stroke-dasharray='5 3'";
  constexpr double kRoomForAName = 12;
  draw_documents(
      *drawing.layout.query(),
      [&](int64_t q) {
        drawing.line(kLeft - 8, drawing.y(q), drawing.right(), drawing.y(q), style);
      },
      [&](int64_t begin, int64_t end, int32_t document) {
        if (drawing.y(end) - drawing.y(begin) < kRoomForAName) return;
        drawing.text(kLeft - 8, (drawing.y(begin) + drawing.y(end)) / 2 + 4,
                     "text-anchor='end' font-size='12'", fmt::format("doc {}", document));
      });
  draw_documents(
      *drawing.layout.key(),
      [&](int64_t k) {
        drawing.line(drawing.x(k), kTop - 8, drawing.x(k), drawing.bottom(), style);
      },
      [&](int64_t begin, int64_t end, int32_t document) {
        if (drawing.x(end) - drawing.x(begin) < 3 * kRoomForAName) return;
        drawing.text((drawing.x(begin) + drawing.x(end)) / 2, kTop - 10,
                     "text-anchor='middle' font-size='12'", fmt::format("doc {}", document));
      });
}

void draw_words(Drawing& drawing, const std::string& title, double width) {
  const BlockMaskRow& row = drawing.row;
  drawing.text(kLeft, 24, "font-size='17' font-weight='bold'", title);
  drawing.text(drawing.right(), kTop - 26, "text-anchor='end' font-size='12'",
               fmt::format("{} keys →", row.key_length));
  drawing.out += fmt::format(
      "<text transform='translate(20 {:.2f}) rotate(-90)' text-anchor='end' "
      "font-size='12'>← {} queries</text>\n",
      kTop, row.query_length);
  const int64_t tiles = row.query_tiles() * row.key_tiles();
  const int64_t empty = tiles - row.full_tile_count - row.partial_tile_count();
  double x = kLeft;
  const double y = drawing.bottom() + 18;
  const auto key = [&](const char* colour, const std::string& words) {
    drawing.out += fmt::format("<rect x='{:.2f}' y='{:.2f}' width='13' height='13' fill='{}'/>\n",
                               x, y, colour);
    drawing.text(x + 19, y + 11, "font-size='12'", words);
    x += 36 + 7.0 * static_cast<double>(words.size());
    if (x > width - 130) x = kLeft;
  };
  key(kFullColour, fmt::format("{} full tiles", row.full_tile_count));
  key(kPartialColour, fmt::format("{} partial", row.partial_tile_count()));
  key(kEmptyColour, fmt::format("{} empty", empty));
  const double pairs = static_cast<double>(row.query_length) * static_cast<double>(row.key_length);
  drawing.text(
      kLeft, y + 34, "font-size='12'",
      fmt::format("area {} of {:.0f} pairs ({:.2f} % hidden), tiles of {} x {} tokens", row.area,
                  pairs, pairs == 0 ? 0 : 100 * (1 - static_cast<double>(row.area) / pairs),
                  row.tile_q, row.tile_k));
}

}  // namespace

std::string draw_svg(const BlockMaskRow& row, const SequenceLayout& layout,
                     const std::string& title) {
  COEUS_CHECK(layout.query_length() == row.query_length && layout.key_length() == row.key_length,
              "[draw_svg] the layout has {} queries and {} keys, the mask {} and {}",
              layout.query_length(), layout.key_length(), row.query_length, row.key_length);
  const auto longest =
      static_cast<double>(std::max<int64_t>({1, row.query_length, row.key_length}));
  Drawing drawing{row, layout, kLongestSide / longest};
  const double width =
      std::max(drawing.right() + 24, kLeft + 9.5 * static_cast<double>(title.size()));
  const double height = drawing.bottom() + 68;
  drawing.out = fmt::format(
      "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {0:.0f} {1:.0f}' width='{0:.0f}' "
      "height='{1:.0f}' font-family='Helvetica, Arial, sans-serif' fill='{2}'>\n"
      "<rect width='100%' height='100%' fill='#ffffff'/>\n<g shape-rendering='crispEdges'>\n",
      width, height, kInk);
  drawing.rectangle(0, row.query_length, 0, row.key_length, kEmptyColour);
  if (std::max(row.query_tiles(), row.key_tiles()) > kMostCells) {
    draw_cells(drawing);
  } else {
    draw_partial_tiles(drawing);
    draw_full_tiles(drawing);
  }
  drawing.out += "</g>\n";
  draw_tile_lines(drawing);
  draw_all_documents(drawing);
  draw_words(drawing, title, width);
  return drawing.out + "</svg>\n";
}

}  // namespace coeus
