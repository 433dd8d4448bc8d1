// What the loader hands to a training step.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "coeus/base/ignored_label.h"
#include "coeus/data/images/image_patches.h"
#include "coeus/mask/block_mask.h"
#include "coeus/mask/sequence_layout.h"

namespace coeus {

struct UploadedBatch;

/// One rank's micro-batch. Arrays are [batch_size, seq_len], row-major.
struct Batch {
  int64_t batch_size = 0;
  int64_t seq_len = 0;     ///< tokens of each row that this rank has
  int64_t row_length = 0;  ///< tokens of each row on all ranks: more under context parallelism
  std::vector<int32_t> tokens;
  std::vector<int32_t> labels;          ///< the tokens that follow; kIgnoredLabel where none counts
  std::vector<int32_t> positions;       ///< what RoPE sees
  std::vector<SequenceLayout> layouts;  ///< one a row: index, document and offset of each token
  ImagePatches images;                  ///< of all rows; empty without images
  AttentionMasks masks;                 ///< empty unless the loader finishes batches
  int64_t valid_labels = 0;             ///< labels of whole rows that are not kIgnoredLabel
  int64_t documents = 0;                ///< documents, or pieces of them, in all rows
  int64_t first_sample = 0;             ///< the global sample number of row 0
  uint64_t plan_hash = 0;  ///< of how its rows are spread over ranks; 0 if they are not
  /// Its arrays on the device that trains (train/batch_upload.h); null unless the loader's finish
  /// puts them there.
  std::shared_ptr<const UploadedBatch> uploaded;
  nlohmann::json state_after;  ///< the loader's state once this batch is delivered
  double read_seconds = 0;     ///< reading, tokenizing and packing, in the loader's thread
  double mask_seconds = 0;     ///< finishing it, as lowering masks, there too

  /// Labels that this rank has and that are not kIgnoredLabel.
  int64_t own_labels() const {
    return static_cast<int64_t>(labels.size()) - std::ranges::count(labels, kIgnoredLabel);
  }
};

}  // namespace coeus
