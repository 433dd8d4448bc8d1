// Who is to blame for a collective that does not end.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "coeus/comm/rank_state.h"

namespace coeus {

struct HangReport {
  std::string cause;  ///< one sentence that names the ranks
  std::string table;  ///< a line for each rank: its step and where it is
};

/// Explains why ranks wait. `states`: every rank's, nothing for one that did not answer. The cause
/// is, in this order: ranks that have not entered a collective in which others wait, while they
/// wait for nobody themselves; ranks of one group in collectives of different kinds or sizes; ranks
/// that wait for each other in a circle; else, the exchange itself.
HangReport explain_hang(const std::vector<std::optional<RankState>>& states);

/// "rank 3", "ranks 0, 1 and 5"; of many, the first ones and how many more.
std::string ranks_text(const std::vector<std::int64_t>& ranks);

}  // namespace coeus
