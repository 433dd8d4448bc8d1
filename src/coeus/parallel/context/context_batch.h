// Batches under context parallelism: from whole rows to one rank's tokens of them.
#pragma once

#include <span>
#include <vector>

#include "coeus/data/batch.h"
#include "coeus/parallel/context/plan/context_rows.h"

namespace coeus {

/// Leaves of the batch this rank's tokens alone: of tokens, labels and positions, in the order in
/// which the rank stores them; of images those that its tokens stand for. Layouts and masks become
/// those of its queries over all keys, and plan_hash that of `rows`, which are planned for the
/// batch's own. Image masks are not made.
void shard_batch(Batch& batch, const ContextRows& rows, const ContextRowPlanner& planner);

/// Deals the rows of a step's batches anew to its passes, which are every `rows_per_pass` rows of a
/// batch, so that each pass has about as much work: a pass takes as long as its rows do, and in a
/// pipeline all wait for the longest (WLB-LLM, arXiv 2503.17924). The step keeps its rows.
/// `rows[i]`: those of step[i]; they move along. Does nothing for batches with images, whose
/// patches stand in the order of their rows.
void balance_passes(std::span<Batch> step, std::vector<std::vector<ContextRow>>& rows,
                    int64_t rows_per_pass);

}  // namespace coeus
