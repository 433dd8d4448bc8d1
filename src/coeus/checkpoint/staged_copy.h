// A copy of what a rank writes, from which a checkpoint can be written while the run goes on.
#pragma once

#include "coeus/checkpoint/training_state.h"

namespace coeus {

/// The state with the tensors that this rank writes copied to the host's memory, page-locked where
/// they come from a GPU and `pinned` is set. The others, whose values nobody reads here, are the
/// run's own. Throws Error for a tensor that does not have its slice's size.
TrainingState staged_copy(const TrainingState& state, bool pinned);

}  // namespace coeus
