// Pipeline schedules: which rank works on which stage and micro-batch, in which order.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace coeus {

/// What a rank does with one micro-batch in one stage. A backward pass is done whole, or as its two
/// parts (zero bubble, arXiv 2401.10241): first what the stage before waits for, then what nobody
/// waits for.
enum class ActionKind : char {
  kForward = 'F',
  kBackward = 'B',        ///< both parts
  kInputGradient = 'I',   ///< the gradient of the stage's input
  kWeightGradient = 'W',  ///< the gradients of its weights
};

struct Action {
  ActionKind kind = ActionKind::kForward;
  int64_t stage = 0;
  int64_t micro_batch = 0;
  auto operator<=>(const Action&) const = default;
};

/// "2F0": stage, kind, micro-batch, as PyTorch writes it.
std::string action_text(const Action& action);

/// The actions of every rank in order; a rank begins one as soon as the one before is done and what
/// it needs of other ranks has arrived. Stage 0 takes tokens, the last gives logits.
struct PipelineSchedule {
  std::string name;
  int64_t stages = 0;
  int64_t micro_batches = 0;
  std::vector<std::vector<Action>> ranks;

  int64_t rank_count() const { return static_cast<int64_t>(ranks.size()); }
  /// For each stage the rank whose actions name it first; -1 for one that no rank has.
  std::vector<int64_t> rank_of_stage() const;
  /// The stages of a rank, ascending.
  std::vector<int64_t> stages_of(int64_t rank) const;
};

/// What is wrong with a schedule, and where.
struct ScheduleMistake {
  std::string complaint;
  int64_t rank = 0;
  /// Of the rank's actions; none for one that is missing.
  std::optional<size_t> action;
};

/// The first reason why a schedule could not be executed: an action out of range, twice, missing or
/// before one of its own rank that it needs; a stage on two ranks; ranks that wait for each other.
std::optional<ScheduleMistake> find_mistake(const PipelineSchedule& schedule);

/// Throws Error with what find_mistake finds.
void check_schedule(const PipelineSchedule& schedule);

/// The most micro-batches, counted for each stage apart, whose forward pass in a stage of this rank
/// is done and whose backward pass is not wholly done: what sets the memory for activations.
int64_t most_in_flight(const PipelineSchedule& schedule, int64_t rank);

}  // namespace coeus
