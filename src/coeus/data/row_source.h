// Where the loader's rows come from.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <span>

#include "coeus/data/images/image_patches.h"
#include "coeus/mask/sequence_layout.h"

namespace coeus {

/// Samples in their global order, each one row of a length given beforehand. Belongs to one thread.
class RowSource {
 public:
  virtual ~RowSource() = default;

  /// Reads until a row can be taken; false when the data ends before. Throws what reading throws.
  virtual bool prepare() = 0;
  /// Takes the prepared row: fills its tokens and labels, both of the row's length, adds its images
  /// to `images` (all but their layout and token), and returns what the tokens carry.
  virtual TokenAttributes take(std::span<int32_t> tokens, std::span<int32_t> labels,
                               ImagePatches& images) = 0;
  /// Passes over the prepared row, which is another rank's.
  virtual void skip() = 0;

  /// What a row without a sample is made of.
  virtual int32_t padding_token() const { return 0; }
  /// The token that stands for a patch; -1 where there are none.
  virtual int32_t image_token() const { return -1; }

  /// Everything that decides the rows to come, between two of them; small.
  virtual nlohmann::json state() const = 0;
  /// Goes on exactly where `state` was made. Throws ConfigError, naming the difference, when the
  /// data or its tokens are others, and CheckpointError for what is no state.
  virtual void load_state(const nlohmann::json& state) = 0;
};

}  // namespace coeus
