#pragma once

#include "coeus/checkpoint/training_state.h"
#include "coeus/comm/mesh.h"

namespace coeus {

/// What this rank holds and writes of the optimizer's state: of "exp_avg.NAME" what it does of the
/// model's NAME, of what belongs to no parameter all, written by rank 0.
HeldSlices optimizer_slices(const NamedTensors& optimizer, const HeldSlices& model,
                            const Mesh& mesh);

}  // namespace coeus
