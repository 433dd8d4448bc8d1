// Whether stored tensors fit a run's own, and how they get into them.
#pragma once

#include <string>
#include <vector>

#include "coeus/base/file_system.h"
#include "coeus/checkpoint/checkpoint_ranks.h"
#include "coeus/checkpoint/stored_piece.h"
#include "coeus/checkpoint/training_state.h"

namespace coeus {

struct MatchRules {
  /// F64, F32, F16 and BF16 may stand for one another (weights from elsewhere); otherwise types
  /// must be equal.
  bool convert_floats = false;
  /// A tensor called `...expert_bias` may be absent and then starts at zero.
  bool expert_bias_may_be_absent = false;
};

/// Every way in which the stored tensors do not fit what the ranks hold together: a tensor of
/// `into` that is missing, a stored one that no rank knows, another shape or type; one sentence
/// each. The same list on every rank; a single process has it in the order of `into`.
std::vector<std::string> mismatches(const std::vector<StoredTensor>& stored,
                                    const NamedTensors& into, const MatchRules& rules,
                                    const HeldSlices& slices = {},
                                    CheckpointRanks& ranks = single_rank());

/// The complaints as lines of one message (the first hundred, and how many more there are).
std::string as_lines(const std::vector<std::string>& complaints);

/// Fills the tensors of `into` in place, each with the slice of it that this rank holds; they were
/// found to match. What is read in full is compared with its checksum once more, and a difference
/// (the file changed since) is a CheckpointError that leaves `into` half filled.
void fill_tensors(FileSystem& file_system, const std::vector<StoredTensor>& stored,
                  const NamedTensors& into, const HeldSlices& slices = {});

}  // namespace coeus
