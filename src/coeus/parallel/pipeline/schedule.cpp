#include "coeus/parallel/pipeline/schedule.h"

#include <algorithm>
#include <set>

#include "coeus/base/error.h"
#include "coeus/parallel/pipeline/simulate.h"

namespace coeus {

namespace {

using enum ActionKind;

std::vector<ActionKind> kinds_before(ActionKind kind) {
  switch (kind) {
    case kForward:
      return {};
    case kBackward:
    case kInputGradient:
      return {kForward};
    case kWeightGradient:
      return {kInputGradient};
  }
  return {};
}

/// The mistakes that can be seen without looking at other ranks' order.
class OneByOne {
 public:
  explicit OneByOne(const PipelineSchedule& schedule)
      : schedule_(schedule), ranks_(schedule.rank_of_stage()) {}

  std::optional<ScheduleMistake> of_action(int64_t rank, size_t index) {
    const Action& action = schedule_.ranks[rank][index];
    const std::string complaint = complaint_about(rank, action);
    seen_.insert(action);
    if (complaint.empty()) return {};
    return ScheduleMistake{complaint, rank, index};
  }

  std::optional<ScheduleMistake> of_missing() const {
    for (int64_t stage = 0; stage < schedule_.stages; ++stage) {
      if (ranks_[stage] < 0)
        return ScheduleMistake{
            fmt::format("no rank has stage {} of {}", stage, schedule_.stages), 0, {}};
      for (int64_t i = 0; i < schedule_.micro_batches; ++i) {
        for (const ActionKind kind : {kForward, kWeightGradient}) {
          const Action action = {kind, stage, i}, whole = {kBackward, stage, i};
          if (seen_.contains(action) || (kind == kWeightGradient && seen_.contains(whole)))
            continue;
          const bool half = seen_.contains({kInputGradient, stage, i});
          return ScheduleMistake{
              fmt::format("{} is missing", action_text(kind == kForward || half ? action : whole)),
              ranks_[stage],
              {}};
        }
      }
    }
    return {};
  }

 private:
  std::string complaint_about(int64_t rank, const Action& action) const {
    const std::string text = action_text(action);
    if (action.stage < 0 || action.stage >= schedule_.stages)
      return fmt::format("{} is of stage {}, and there are {}", text, action.stage,
                         schedule_.stages);
    if (action.micro_batch < 0 || action.micro_batch >= schedule_.micro_batches)
      return fmt::format("{} is of micro-batch {}, and there are {}", text, action.micro_batch,
                         schedule_.micro_batches);
    if (ranks_[action.stage] != rank)
      return fmt::format("{} is of stage {}, which rank {} has", text, action.stage,
                         ranks_[action.stage]);
    if (seen_.contains(action)) return fmt::format("{} stands there twice", text);
    for (const auto& [kind, other] :
         {std::pair(kBackward, kInputGradient), std::pair(kInputGradient, kBackward),
          std::pair(kWeightGradient, kBackward)}) {
      const Action rival = {other, action.stage, action.micro_batch};
      if (action.kind == kind && seen_.contains(rival))
        return fmt::format("{} is done by {} already", text, action_text(rival));
    }
    for (const ActionKind before : kinds_before(action.kind)) {
      const Action needed = {before, action.stage, action.micro_batch};
      if (!seen_.contains(needed))
        return fmt::format("{} needs {} before it", text, action_text(needed));
    }
    return "";
  }

  const PipelineSchedule& schedule_;
  const std::vector<int64_t> ranks_;
  std::set<Action> seen_;
};

}  // namespace

std::string action_text(const Action& action) {
  return fmt::format("{}{}{}", action.stage, static_cast<char>(action.kind), action.micro_batch);
}

std::vector<int64_t> PipelineSchedule::rank_of_stage() const {
  std::vector<int64_t> rank_of(stages, -1);
  for (size_t rank = 0; rank < ranks.size(); ++rank)
    for (const Action& action : ranks[rank])
      if (action.stage >= 0 && action.stage < stages && rank_of[action.stage] < 0)
        rank_of[action.stage] = static_cast<int64_t>(rank);
  return rank_of;
}

std::vector<int64_t> PipelineSchedule::stages_of(int64_t rank) const {
  std::set<int64_t> found;
  for (const Action& action : ranks.at(rank)) found.insert(action.stage);
  return {found.begin(), found.end()};
}

std::optional<ScheduleMistake> find_mistake(const PipelineSchedule& schedule) {
  OneByOne one_by_one(schedule);
  for (int64_t rank = 0; rank < schedule.rank_count(); ++rank)
    for (size_t i = 0; i < schedule.ranks[rank].size(); ++i)
      if (auto mistake = one_by_one.of_action(rank, i)) return mistake;
  if (auto mistake = one_by_one.of_missing()) return mistake;
  const Simulation simulation = run_simulation(schedule, {});
  if (simulation.stuck.empty()) return {};
  // Each of the ranks that are stuck waits for another of them.
  const Simulation::Stuck& stuck = simulation.stuck.front();
  const Action& action = schedule.ranks[stuck.rank][stuck.action];
  return ScheduleMistake{
      fmt::format("{} waits for {} of rank {}, which comes only after something that waits in turn",
                  action_text(action), action_text(stuck.needed), stuck.other_rank),
      stuck.rank, stuck.action};
}

void check_schedule(const PipelineSchedule& schedule) {
  const std::optional<ScheduleMistake> mistake = find_mistake(schedule);
  if (!mistake) return;
  throw Error(fmt::format("[pipeline schedule {}] rank {}: {}", schedule.name, mistake->rank,
                          mistake->complaint));
}

int64_t most_in_flight(const PipelineSchedule& schedule, int64_t rank) {
  int64_t now = 0, most = 0;
  for (const Action& action : schedule.ranks.at(rank)) {
    if (action.kind == kForward) most = std::max(most, ++now);
    if (action.kind == kBackward || action.kind == kWeightGradient) --now;
  }
  return most;
}

}  // namespace coeus
