#include "coeus/train/sum_over_ranks.h"

#include <torch/types.h>

namespace coeus {

int64_t sum_over(ProcessGroup& group, int64_t value, const char* what) {
  return group.all_reduce(at::full({1}, value, at::kLong), what).item<int64_t>();
}

double max_over(ProcessGroup& group, double value, const char* what) {
  return group.all_reduce(at::full({1}, value, at::kDouble), what, ReduceOperation::kMax)
      .item<double>();
}

}  // namespace coeus
