#include "coeus/data/images/image_patches.h"

namespace coeus {

SequenceLayout layout_of(std::span<const ImageGrid> grids) {
  std::vector<int64_t> lengths;
  for (const ImageGrid& grid : grids) lengths.push_back(grid.patches());
  return SequenceLayout::from_document_lengths(lengths);
}

}  // namespace coeus
