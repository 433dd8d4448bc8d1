// The check of one case: all kernels, held to float64 on the CPU or to the plain ones in float32.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "arena.h"
#include "coeus/kernels/cuda/element_type.h"
#include "comparisons.h"
#include "judge.h"
#include "options.h"
#include "placed_mask.h"
#include "problem.h"
#include "tensor.h"

namespace coeus::cuda {

/// One mask, shape, type and layout.
struct Case {
  std::string mask;
  int length = 0;
  int batch = 0;
  Heads heads{};
  Dims dims{};
  ElementType type = ElementType::kBFloat16;
  Layout layout = Layout::kTokens;

  std::string name() const;
};

/// Runs the kernels on one case after another.
class Checker {
 public:
  Checker(const Options& options, cudaStream_t stream);

  /// Prints what is wrong; `placed` is the mask of the case.
  void check_case(const Case& c, const PlacedMask& placed);
  /// Prints a line for each kernel. How many cases were wrong.
  int print_summaries() const;

 private:
  const double* upload(const std::vector<double>& x);
  std::vector<float> download(const float* x, int64_t count);

  const Options& options_;
  cudaStream_t stream_;
  Arena arena_;
  Comparisons comparisons_;
  Judge judge_;
  std::map<std::string, int> not_taken_;
};

}  // namespace coeus::cuda
