// Evening out the work of each mask by itself.
#pragma once

#include <cstdint>

#include "coeus/parallel/context/plan/context_plan.h"
#include "coeus/parallel/context/plan/context_row.h"

namespace coeus {

/// What ranks wait for where every layer waits for its busiest rank: for each mask the work of the
/// rank that has most of it, summed over the masks. At least the row's work over the ranks; equal
/// to the busiest rank's work where there is one mask.
int64_t layered_work(const ContextRow& row, const ContextPlan& plan);

/// The plan after trades of equally many tokens between ranks, each of which lowers what two ranks
/// make the others wait for, layer by layer; no rank then has more work over all masks than
/// `most_work`, or than it had. Changes nothing for a single mask.
ContextPlan with_even_layers(const ContextRow& row, const ContextPlan& plan, int64_t most_work);

}  // namespace coeus
