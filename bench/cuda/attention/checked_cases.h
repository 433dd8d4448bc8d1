// The cases of the check.
#pragma once

#include <cuda_runtime.h>

#include "options.h"

namespace coeus::cuda {

/// Checks all cases and prints a line for each kernel. Whether all was right.
bool check_cases(const Options& options, cudaStream_t stream);

}  // namespace coeus::cuda
