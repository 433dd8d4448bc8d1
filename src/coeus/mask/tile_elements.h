// A mask's meaning element by element, a tile at a time: for tiles that sets of ranks cannot
// decide.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "coeus/mask/mask_node.h"
#include "coeus/mask/sequence_layout.h"

namespace coeus {

class TileElements {
 public:
  /// `mask` and `layout` must outlive this.
  TileElements(const MaskNode& mask, const SequenceLayout& layout) : mask_(mask), layout_(layout) {}

  /// One byte (0 or 1) for each pair of queries [query_begin, query_end) and keys [key_begin,
  /// key_end), row by row; valid until the next call.
  std::span<const uint8_t> evaluate(int64_t query_begin, int64_t query_end, int64_t key_begin,
                                    int64_t key_end);

 private:
  struct Tile;
  /// Writes `out` where `wanted` (null: everywhere) is set; elsewhere anything may be written.
  void evaluate(const MaskNode& node, const Tile& tile, const uint8_t* wanted, uint8_t* out,
                size_t depth);
  std::vector<uint8_t>& buffer(size_t number, size_t size);

  const MaskNode& mask_;
  const SequenceLayout& layout_;
  std::vector<std::vector<uint8_t>> buffers_;
};

}  // namespace coeus
