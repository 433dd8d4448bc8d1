#include "coeus/parallel/pipeline/messages.h"

namespace coeus {

int64_t tag_of(const StageInput& input, const PipelineSchedule& schedule) {
  return (input.stage * schedule.micro_batches + input.micro_batch) * 2 +
         (input.is_gradient ? 1 : 0);
}

std::vector<StageInput> inputs_of(const Action& action, const PipelineSchedule& schedule) {
  const auto [kind, stage, micro_batch] = action;
  if (kind == ActionKind::kForward && stage > 0) return {{false, stage, micro_batch}};
  const bool is_backward = kind == ActionKind::kBackward || kind == ActionKind::kInputGradient;
  if (is_backward && stage + 1 < schedule.stages) return {{true, stage, micro_batch}};
  return {};
}

std::vector<StageInput> outputs_of(const Action& action, const PipelineSchedule& schedule) {
  const auto [kind, stage, micro_batch] = action;
  if (kind == ActionKind::kForward && stage + 1 < schedule.stages)
    return {{false, stage + 1, micro_batch}};
  const bool is_backward = kind == ActionKind::kBackward || kind == ActionKind::kInputGradient;
  if (is_backward && stage > 0) return {{true, stage - 1, micro_batch}};
  return {};
}

std::map<int64_t, std::vector<StageInput>> received_by(int64_t rank,
                                                       const PipelineSchedule& schedule) {
  const std::vector<int64_t> rank_of = schedule.rank_of_stage();
  std::map<int64_t, std::vector<StageInput>> received;
  for (int64_t sender = 0; sender < schedule.rank_count(); ++sender) {
    if (sender == rank) continue;
    for (const Action& action : schedule.ranks[sender])
      for (const StageInput& output : outputs_of(action, schedule))
        if (rank_of[output.stage] == rank) received[sender].push_back(output);
  }
  return received;
}

}  // namespace coeus
