// The balancer that looks at all masks and at what is exchanged.
#pragma once

#include <vector>

#include "coeus/parallel/context/plan/balancer.h"

namespace coeus {

/// Begins with the row cut into one piece a rank, which exchanges the least, and lets the busiest
/// rank and the idlest one trade equally many tokens, dear ones for cheap ones, until no rank has
/// much more than the mean: at most one trade a rank is due, for each makes one of the two even.
/// Where there are several masks, further trades even out each by itself (even_layers.h), for ranks
/// wait for each other in every layer.
///
/// `others`: plans of other balancers, with equal counts. Of all of these and its own, those with
/// the least work on the busiest rank (within a percent, but never more than the best of `others`)
/// are taken; of them those whose layers are the most even, within two percent; and of them the one
/// that exchanges the fewest keys.
ContextPlan balance_jointly(const ContextRow& row, const BalanceOptions& options,
                            const std::vector<ContextPlan>& others);

}  // namespace coeus
