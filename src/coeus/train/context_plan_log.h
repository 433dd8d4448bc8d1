// What a run says of how rows are spread over ranks.
#pragma once

#include <string>

#include "coeus/data/batch.h"
#include "coeus/parallel/context/plan/context_rows.h"

namespace coeus {

/// How the rows of a batch, which already has this rank's tokens alone, were dealt to all ranks,
/// with everyone's work and exchange, and what this rank's positions and masks take.
std::string context_plan_text(const ContextRowPlanner& planner, const Batch& batch);

}  // namespace coeus
