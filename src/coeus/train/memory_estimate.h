#pragma once

#include <cstdint>
#include <vector>

#include "coeus/models/model.h"
#include "coeus/train/job_config.h"
#include "coeus/train/metrics/memory_table.h"

namespace coeus {

/// What training `model` as configured will hold, by purpose: parameters, gradients and optimizer
/// exactly, activations at their peak as the model estimates them. The model may be a meta one.
std::vector<MemoryEntry> estimate_memory(const Model& model, int64_t blocks,
                                         const JobConfig& config);

/// Throws OutOfMemoryError, with the table, when the estimate exceeds `capacity_bytes`; 0 means
/// that the capacity is not known.
void check_fits(const std::vector<MemoryEntry>& estimate, double capacity_bytes);

}  // namespace coeus
