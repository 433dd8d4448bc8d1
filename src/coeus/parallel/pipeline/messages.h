// What a rank receives from others, in the order in which they send it.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "coeus/parallel/pipeline/schedule.h"

namespace coeus {

/// The input that an action needs from the stage beside: hidden states for a forward pass, the
/// gradient of its output for a backward pass.
struct StageInput {
  bool is_gradient = false;
  int64_t stage = 0;  ///< that receives
  int64_t micro_batch = 0;
  auto operator<=>(const StageInput&) const = default;
};

/// A number that no other input of the schedule has.
int64_t tag_of(const StageInput& input, const PipelineSchedule& schedule);

/// What `action` needs from another stage, if anything.
std::vector<StageInput> inputs_of(const Action& action, const PipelineSchedule& schedule);
/// What `action` gives to another stage, if anything.
std::vector<StageInput> outputs_of(const Action& action, const PipelineSchedule& schedule);

/// For each other rank what `rank` receives from it, in the order in which it is sent. Receives are
/// started in this order: transports without tags (NCCL) match by it.
std::map<int64_t, std::vector<StageInput>> received_by(int64_t rank,
                                                       const PipelineSchedule& schedule);

}  // namespace coeus
