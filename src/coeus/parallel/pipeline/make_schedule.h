// The schedules that have a name.
#pragma once

#include <cstdint>
#include <string_view>

#include "coeus/parallel/pipeline/schedule.h"

namespace coeus {

/// What is fixed of a schedule by its name.
struct ScheduleTraits {
  std::string_view name;
  int64_t stages_per_rank = 0;  ///< 0: any number
};

/// 1F1B, GPipe, Interleaved1F1B, LoopedBFS, InterleavedZeroBubble and ZBVZeroBubble.
/// Throws ConfigError for another name, with those there are.
const ScheduleTraits& schedule_traits(std::string_view name);

/// The schedule of that name for micro_batches >= 1 of any number, also fewer than there are
/// stages or no multiple of the ranks (PyTorch refuses some of these). Stage s is on rank s % ranks
/// unless said otherwise.
/// - GPipe (arXiv 1811.06965): all forward passes, then all backward passes.
/// - 1F1B (PipeDream-Flush, arXiv 2006.09503): a backward pass as soon as one can be done, so that
///   a stage keeps at most as many micro-batches as there are stages from it to the end.
/// - Interleaved1F1B (Megatron-LM, arXiv 2104.04473): 1F1B over several stages a rank, in rounds of
///   about as many micro-batches as ranks.
/// - LoopedBFS (breadth-first, arXiv 2211.05953): GPipe over several stages a rank.
/// - InterleavedZeroBubble (ZB1P, arXiv 2401.10241): Interleaved1F1B with weight gradients put off
///   by a rank's number, into what would be its bubble.
/// - ZBVZeroBubble (the same paper, section 6): two stages a rank in a V, down the ranks and up
///   again, so that the first and the last stage are on rank 0; weight gradients fill what is left.
/// Throws ConfigError for numbers that the schedule does not take.
PipelineSchedule make_schedule(std::string_view name, int64_t ranks, int64_t stages_per_rank,
                               int64_t micro_batches);

}  // namespace coeus
