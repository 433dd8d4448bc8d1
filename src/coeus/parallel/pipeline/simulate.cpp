#include "coeus/parallel/pipeline/simulate.h"

#include <algorithm>
#include <map>

#include "coeus/base/error.h"

namespace coeus {

namespace {

using enum ActionKind;

class Simulator {
 public:
  Simulator(const PipelineSchedule& schedule, const ActionTimes& times)
      : schedule_(schedule), times_(times), rank_of_(schedule.rank_of_stage()) {
    timeline_.ranks.resize(schedule.ranks.size());
  }

  Simulation run() {
    bool moved = true;
    while (moved) {
      moved = false;
      for (size_t rank = 0; rank < schedule_.ranks.size(); ++rank)
        while (do_next(rank)) moved = true;
    }
    Simulation result{std::move(timeline_), {}};
    for (size_t rank = 0; rank < schedule_.ranks.size(); ++rank) {
      const size_t at = result.timeline.ranks[rank].size();
      if (at == schedule_.ranks[rank].size()) continue;
      const Action needed = *unmet(schedule_.ranks[rank][at]);
      result.stuck.push_back({static_cast<int64_t>(rank), at, needed, rank_of_[needed.stage]});
    }
    return result;
  }

 private:
  /// When the backward pass of a stage has given the gradient of its input; -1: not yet.
  int64_t input_gradient_end(int64_t stage, int64_t micro_batch) const {
    return std::max(end_of({kBackward, stage, micro_batch}),
                    end_of({kInputGradient, stage, micro_batch}));
  }
  int64_t end_of(const Action& action) const {
    const auto found = ends_.find(action);
    return found == ends_.end() ? -1 : found->second;
  }

  /// An action of this or another rank that must come first and is not done.
  std::optional<Action> unmet(const Action& action) const {
    const auto [kind, stage, i] = action;
    if (kind == kForward) {
      const Action before = {kForward, stage - 1, i};
      return stage > 0 && end_of(before) < 0 ? std::optional(before) : std::nullopt;
    }
    if (kind == kWeightGradient) {
      const Action before = {kInputGradient, stage, i};
      return end_of(before) < 0 ? std::optional(before) : std::nullopt;
    }
    const Action forward = {kForward, stage, i};
    if (end_of(forward) < 0) return forward;
    if (stage + 1 < schedule_.stages && input_gradient_end(stage + 1, i) < 0) {
      const std::vector<Action>& others = schedule_.ranks[rank_of_[stage + 1]];
      const Action half = {kInputGradient, stage + 1, i};
      return std::find(others.begin(), others.end(), half) != others.end()
                 ? half
                 : Action{kBackward, stage + 1, i};
    }
    return {};
  }

  bool do_next(size_t rank) {
    auto& done = timeline_.ranks[rank];
    if (done.size() == schedule_.ranks[rank].size()) return false;
    const Action& action = schedule_.ranks[rank][done.size()];
    if (unmet(action)) return false;
    int64_t begin = done.empty() ? 0 : done.back().end;
    const auto [kind, stage, i] = action;
    if (kind == kForward && stage > 0) begin = std::max(begin, end_of({kForward, stage - 1, i}));
    if ((kind == kBackward || kind == kInputGradient) && stage + 1 < schedule_.stages) {
      // The half that the stage before needs is the first of a whole backward pass too, but the
      // gradient leaves when the pass is done.
      begin = std::max(begin, input_gradient_end(stage + 1, i));
    }
    done.push_back({action, begin, begin + times_.of(kind)});
    ends_[action] = done.back().end;
    return true;
  }

  const PipelineSchedule& schedule_;
  const ActionTimes times_;
  const std::vector<int64_t> rank_of_;
  Timeline timeline_;
  std::map<Action, int64_t> ends_;
};

}  // namespace

int64_t ActionTimes::of(ActionKind kind) const {
  switch (kind) {
    case kForward:
      return forward;
    case kInputGradient:
      return input_gradient;
    case kWeightGradient:
      return weight_gradient;
    case kBackward:
      return input_gradient + weight_gradient;
  }
  return 0;
}

int64_t Timeline::makespan() const {
  int64_t end = 0;
  for (const auto& blocks : ranks)
    if (!blocks.empty()) end = std::max(end, blocks.back().end);
  return end;
}

double Timeline::bubble() const {
  int64_t work = 0;
  for (const auto& blocks : ranks)
    for (const Block& block : blocks) work += block.end - block.begin;
  const int64_t all = makespan() * static_cast<int64_t>(ranks.size());
  return all == 0 ? 0 : 1 - static_cast<double>(work) / static_cast<double>(all);
}

Simulation run_simulation(const PipelineSchedule& schedule, const ActionTimes& times) {
  return Simulator(schedule, times).run();
}

Timeline simulate(const PipelineSchedule& schedule, const ActionTimes& times) {
  check_schedule(schedule);
  return run_simulation(schedule, times).timeline;
}

}  // namespace coeus
