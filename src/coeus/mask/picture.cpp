#include "coeus/mask/picture.h"

#include <algorithm>

namespace coeus {
namespace {

/// Adds runs of visible keys to a picture: cells at a run's ends at once, those between as a
/// difference that `finish` sums up.
class PictureBuilder {
 public:
  explicit PictureBuilder(MaskPicture& picture)
      : picture_(picture), columns_(picture.columns()), steps_(picture.rows() * (columns_ + 1)) {}

  /// A query of cell row `row` sees keys [begin, end).
  void add_run(int64_t row, int64_t begin, int64_t end) {
    if (begin >= end) return;
    const int64_t first = begin / picture_.cell_k;
    const int64_t last = (end - 1) / picture_.cell_k;
    int64_t* const line = picture_.visible.data() + row * columns_;
    if (first == last) {
      line[first] += end - begin;
      return;
    }
    line[first] += (first + 1) * picture_.cell_k - begin;
    line[last] += end - last * picture_.cell_k;
    int64_t* const steps = steps_.data() + row * (columns_ + 1);
    ++steps[first + 1];
    --steps[last];
  }

  void finish() {
    for (int64_t row = 0; row < picture_.rows(); ++row) {
      int64_t queries = 0;
      for (int64_t column = 0; column < columns_; ++column) {
        queries += steps_[row * (columns_ + 1) + column];
        picture_.visible[row * columns_ + column] += queries * picture_.cell_k;
      }
    }
  }

 private:
  MaskPicture& picture_;
  int64_t columns_;
  /// By how many the queries that see all of a cell grow from the cell before, [rows, columns + 1].
  std::vector<int64_t> steps_;
};

bool element_is_visible(const BlockMaskRow& row, int64_t entry, int64_t q, int64_t k) {
  if (row.interval_count > 0) return row.intervals_hold(q, k);
  const int64_t bit = k % row.tile_k;
  const int64_t line = entry * row.tile_q + q % row.tile_q;
  return (row.bits[line * row.words_per_row() + bit / 64] >> (bit % 64)) & 1;
}

void add_query_by_tiles(const BlockMaskRow& row, int64_t q, int64_t cell_row,
                        PictureBuilder& builder) {
  const TileLists& lists = row.by_query;
  const int64_t tile = q / row.tile_q;
  for (int64_t j = lists.full_offsets[tile]; j < lists.full_offsets[tile + 1]; ++j) {
    builder.add_run(cell_row, lists.full_ranges[2 * j] * row.tile_k,
                    std::min(lists.full_ranges[2 * j + 1] * row.tile_k, row.key_length));
  }
  for (int64_t j = lists.partial_offsets[tile]; j < lists.partial_offsets[tile + 1]; ++j) {
    const int64_t begin = lists.partial_tiles[j] * row.tile_k;
    const int64_t end = std::min(begin + row.tile_k, row.key_length);
    for (int64_t k = begin; k < end; ++k) {
      if (element_is_visible(row, j, q, k)) builder.add_run(cell_row, k, k + 1);
    }
  }
}

}  // namespace

int64_t MaskPicture::cell_area(int64_t row, int64_t column) const {
  return std::min(cell_q, queries - row * cell_q) * std::min(cell_k, keys - column * cell_k);
}

double MaskPicture::share(int64_t row, int64_t column) const {
  return static_cast<double>(visible[row * columns() + column]) /
         static_cast<double>(cell_area(row, column));
}

MaskPicture picture_of(const BlockMaskRow& row, int64_t cell_q, int64_t cell_k) {
  MaskPicture picture{row.query_length, row.key_length, cell_q, cell_k, {}};
  picture.visible.resize(picture.rows() * picture.columns());
  PictureBuilder builder(picture);
  for (int64_t q = 0; q < row.query_length; ++q) {
    const int64_t cell_row = q / cell_q;
    if (row.interval_count == 0 || !row.key_ranks.empty()) {
      add_query_by_tiles(row, q, cell_row, builder);
      continue;
    }
    for (int64_t at = q; at < row.interval_count * row.query_length; at += row.query_length) {
      builder.add_run(cell_row, row.interval_begin[at], row.interval_end[at]);
    }
  }
  builder.finish();
  return picture;
}

std::vector<int64_t> document_boundaries(const TokenAttributes& tokens) {
  std::vector<int64_t> boundaries;
  for (int64_t place = 1; place < tokens.size(); ++place) {
    if (tokens.document[place] != tokens.document[place - 1]) boundaries.push_back(place);
  }
  return boundaries;
}

}  // namespace coeus
