// What a schedule comes to when every action takes a known time.
#pragma once

#include <cstdint>
#include <vector>

#include "coeus/parallel/pipeline/schedule.h"

namespace coeus {

/// How long an action of one stage takes, in any unit; a whole backward pass takes both parts'.
/// Passing tensors from rank to rank takes none.
struct ActionTimes {
  int64_t forward = 1;
  int64_t input_gradient = 1;
  int64_t weight_gradient = 1;

  int64_t of(ActionKind kind) const;
};

/// When each rank does what.
struct Timeline {
  struct Block {
    Action action;
    int64_t begin = 0;
    int64_t end = 0;
  };
  std::vector<std::vector<Block>> ranks;

  /// From the first action's begin to the last one's end.
  int64_t makespan() const;
  /// The share of all ranks' time in which they wait, in [0, 1).
  double bubble() const;
};

struct Simulation {
  Timeline timeline;  ///< as far as it came
  /// A rank that waits for an action that another rank never comes to.
  struct Stuck {
    int64_t rank = 0;
    size_t action = 0;  ///< of the rank's actions
    Action needed;
    int64_t other_rank = 0;
  };
  std::vector<Stuck> stuck;  ///< empty when every action was done
};

/// Executes a schedule whose actions are in range: each as soon as its rank is free and the same
/// micro-batch's forward pass of the stage before, or backward pass of the stage after, is done.
Simulation run_simulation(const PipelineSchedule& schedule, const ActionTimes& times);

/// The timeline of a schedule that can be executed. Throws Error for another.
Timeline simulate(const PipelineSchedule& schedule, const ActionTimes& times = {});

}  // namespace coeus
