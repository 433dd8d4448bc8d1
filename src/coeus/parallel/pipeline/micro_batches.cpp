#include "coeus/parallel/pipeline/micro_batches.h"

#include <torch/types.h>

#include <algorithm>

#include "coeus/base/error.h"

namespace coeus {

std::vector<MicroBatch> cut_into_micro_batches(const PipelineBatch& batch, int64_t rows) {
  COEUS_CHECK(rows >= 1, "[cut_into_micro_batches] rows must be at least 1, got {}", rows);
  const int64_t all = batch.tokens.size(0);
  const auto check_rows = [&](const char* what, int64_t its) {
    COEUS_CHECK(its == all, "[cut_into_micro_batches] tokens have {} rows, {} {}", all, what, its);
  };
  check_rows("positions", batch.positions.size(0));
  if (batch.labels.defined()) check_rows("labels", batch.labels.size(0));
  for (const auto& [name, mask] : batch.masks) check_rows("a mask", mask.batch_size());
  std::vector<MicroBatch> cut;
  for (int64_t first = 0; first < all; first += rows) {
    const int64_t count = std::min(rows, all - first);
    MicroBatch part = {.first_row = first,
                       .rows = count,
                       .tokens = batch.tokens.narrow(0, first, count),
                       .labels = {},
                       .positions = batch.positions.narrow(0, first, count),
                       .masks = {}};
    if (batch.labels.defined()) part.labels = batch.labels.narrow(0, first, count);
    for (const auto& [name, mask] : batch.masks)
      part.masks.emplace(name, mask.slice_rows(first, first + count));
    cut.push_back(std::move(part));
  }
  return cut;
}

}  // namespace coeus
