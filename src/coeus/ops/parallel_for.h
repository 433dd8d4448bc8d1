// at::parallel_for for files that loop over values. Where it is compiled without OpenMP it is a
// plain loop on one thread; the build gives OpenMP to files that include this.
#pragma once

#ifndef _OPENMP
#error "compile this file with OpenMP (coeus_run_loops_in_threads in cmake/folders.cmake)"
#endif

#include <ATen/Parallel.h>
