#pragma once

#include <cstdint>
#include <vector>

#include "coeus/comm/mesh.h"
#include "coeus/models/model.h"
#include "coeus/train/job_config.h"
#include "coeus/train/metrics/memory_table.h"

namespace coeus {

/// What training `model` as configured will hold, by purpose: parameters, gradients and optimizer
/// exactly, activations at their peak as the model estimates them, in training or in validation,
/// whichever takes more. Where the reference engine serves attention, on its own or because `auto`
/// falls on it for rows of one document, the scores it writes out are an entry of their own; so are
/// those of the one layer that `check` compares at a time. Of a model with several masks each is
/// taken to serve as many layers. The model may be a meta one.
/// `degrees`: over how many ranks it is split; parameters are taken to be spread evenly. `device`:
/// where it trains.
std::vector<MemoryEntry> estimate_memory(const Model& model, int64_t blocks,
                                         const JobConfig& config,
                                         const ParallelDegrees& degrees = {},
                                         const at::Device& device = at::kCPU);

/// Throws OutOfMemoryError, with the table, when the estimate exceeds `capacity_bytes`; 0 means
/// that the capacity is not known.
void check_fits(const std::vector<MemoryEntry>& estimate, double capacity_bytes);

}  // namespace coeus
