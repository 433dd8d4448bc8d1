// Numbers that all ranks of a group agree on.
#pragma once

#include <cstdint>

#include "coeus/comm/process_group.h"

namespace coeus {

/// The sum, or the largest, of every rank's value; `what` names it in messages.
int64_t sum_over(ProcessGroup& group, int64_t value, const char* what);
double max_over(ProcessGroup& group, double value, const char* what);

}  // namespace coeus
