#include "coeus/ops/kept_results.h"

#include <torch/types.h>

#include "coeus/base/error.h"

namespace coeus {

namespace {

thread_local KeptResults* results_of_thread = nullptr;

}  // namespace

KeptResults::Run::Run(KeptResults& results, Mode mode) : before_(results_of_thread) {
  results.takes_ = mode == Mode::kTake;
  results.linears_ = 0;
  results_of_thread = &results;
}

KeptResults::Run::~Run() { results_of_thread = before_; }

KeptResults* KeptResults::current() { return results_of_thread; }

bool KeptResults::keeps_linear(int64_t in, int64_t out) {
  return !never_kept_.contains({in, out}) && ++linears_ % 2 == 1;
}

std::vector<at::Tensor> KeptResults::keep(const std::function<std::vector<at::Tensor>()>& compute) {
  if (takes_) {
    COEUS_ASSERT(!kept_.empty());
    std::vector<at::Tensor> results = std::move(kept_.front());
    kept_.pop_front();
    return results;
  }
  std::vector<at::Tensor> results = compute();
  // Aliases, for the second run gives these a history of their own.
  std::vector<at::Tensor> kept;
  for (const at::Tensor& result : results) kept.push_back(result.detach());
  kept_.push_back(std::move(kept));
  return results;
}

std::vector<at::Tensor> kept_or_computed(const std::function<std::vector<at::Tensor>()>& compute) {
  KeptResults* const results = KeptResults::current();
  return results == nullptr ? compute() : results->keep(compute);
}

}  // namespace coeus
