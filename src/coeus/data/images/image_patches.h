// Images as a vision encoder takes them: cut into patches.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "coeus/mask/sequence_layout.h"

namespace coeus {

/// How many patches an image has.
struct ImageGrid {
  int32_t rows = 0;
  int32_t columns = 0;

  int64_t patches() const { return int64_t{rows} * columns; }
  bool operator==(const ImageGrid&) const = default;
};

/// One document an image, its patches row by row.
SequenceLayout layout_of(std::span<const ImageGrid> grids);

/// The images of a micro-batch, laid end to end: those of row 0 first, in the order in which they
/// stand in their rows. A row's tokens hold one image token for each patch, in the same order.
struct ImagePatches {
  int64_t patch_dim = 0;      ///< values of a patch: patch_size * patch_size * 3; 0 without images
  std::vector<float> values;  ///< [patches, patch_dim], as patchify.h orders them
  std::vector<ImageGrid> grids;  ///< one an image; patches go row by row
  int32_t token = -1;            ///< stands in the rows for each patch; -1 in a run without images
  /// The patch that each image token of the rows stands for, where not one after another: under
  /// context parallelism, where a rank has some tokens of an image, and all of its patches.
  std::vector<int64_t> order = {};
  /// layout_of(grids): one document an image.
  SequenceLayout layout = SequenceLayout::self({});

  int64_t patches() const { return layout.query_length(); }
};

}  // namespace coeus
