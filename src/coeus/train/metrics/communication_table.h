#pragma once

#include <cstdint>
#include <string>

#include "coeus/comm/collective_log.h"

namespace coeus {

/// What a rank has exchanged a step on average over `steps`, by kind and group, as lines: how
/// often, MiB of the tensors (whole: what is gathered, or summed), and how long it was blocked. ""
/// when nothing was exchanged.
std::string communication_table(const CollectiveLog& log, int64_t steps);

}  // namespace coeus
