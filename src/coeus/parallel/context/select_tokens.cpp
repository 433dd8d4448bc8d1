#include "coeus/parallel/context/select_tokens.h"

#include <torch/types.h>

#include <vector>

#include "coeus/base/error.h"

namespace coeus {

at::Tensor select_tokens(const at::Tensor& x, const ContextRows& rows, int64_t rank) {
  COEUS_CHECK(x.dim() >= 2 && x.size(0) == static_cast<int64_t>(rows.plans.size()) &&
                  x.size(1) == rows.row_length(),
              "[select_tokens] {} rows of {} tokens are planned, got {}", rows.plans.size(),
              rows.row_length(), x.sizes());
  std::vector<at::Tensor> selected;
  for (int64_t row = 0; row < x.size(0); ++row) {
    const TokenRuns& runs = rows.plans[static_cast<size_t>(row)].ranks.at(rank);
    std::vector<at::Tensor> parts;
    for (const TokenRun& run : runs) parts.push_back(x.select(0, row).slice(0, run.begin, run.end));
    selected.push_back(at::cat(parts));
  }
  return at::stack(selected);
}

}  // namespace coeus
