// Times of the kernels.
#pragma once

#include <cuda_runtime.h>

#include "options.h"

namespace coeus::cuda {

/// Prints a table of times. Whether all results were finite.
bool time_cases(const Options& options, cudaStream_t stream);

}  // namespace coeus::cuda
