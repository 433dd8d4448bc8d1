// Where stored tensors lie, whether they fit a run's own, and how they get into them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "coeus/base/checksum.h"
#include "coeus/base/file_system.h"
#include "coeus/checkpoint/stored_type.h"
#include "coeus/checkpoint/training_state.h"

namespace coeus {

/// A stored tensor: the bytes [begin, end) of a file.
struct TensorSource {
  std::string name;
  StoredType type = StoredType::kF32;
  std::vector<int64_t> shape;
  std::filesystem::path file;
  uint64_t begin = 0;
  uint64_t end = 0;
  std::optional<Checksum> checksum;
};

struct MatchRules {
  /// F64, F32, F16 and BF16 may stand for one another (weights from elsewhere); otherwise types
  /// must be equal.
  bool convert_floats = false;
  /// A tensor called `...expert_bias` may be absent and then starts at zero.
  bool expert_bias_may_be_absent = false;
};

/// Every way in which the stored tensors do not fit: a tensor of `into` that is missing, a stored
/// one that `into` does not know, another shape or type; one sentence each, in the order of `into`.
std::vector<std::string> mismatches(const std::vector<TensorSource>& stored,
                                    const NamedTensors& into, const MatchRules& rules);

/// The complaints as lines of one message (the first hundred, and how many more there are).
std::string as_lines(const std::vector<std::string>& complaints);

/// Reads the bytes of each source and throws CheckpointError, naming file, tensor and byte range,
/// if a checksum differs.
void verify_tensors(FileSystem& file_system, const std::vector<TensorSource>& stored);

/// Fills the tensors of `into` in place; they were found to match. Checksums are compared once
/// more, and a difference (the file changed since) is a CheckpointError that leaves `into` half
/// filled.
void fill_tensors(FileSystem& file_system, const std::vector<TensorSource>& stored,
                  const NamedTensors& into);

}  // namespace coeus
