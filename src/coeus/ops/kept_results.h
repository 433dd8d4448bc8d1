// Recomputing a layer in backward by operation: results that are dear to compute are kept, the rest
// is computed again.
#pragma once

#include <ATen/core/Tensor.h>

#include <deque>
#include <functional>
#include <set>
#include <utility>
#include <vector>

namespace coeus {

/// What the first run of a recomputed layer keeps for the second (per-operation selective
/// recomputation, as in Korthikanti et al., arXiv 2205.05198): the results of attention, and of
/// every second linear layer, as TorchTitan keeps them. The two runs must ask in the same order.
class KeptResults {
 public:
  /// [in, out] of linear layers whose products are always computed again, and not counted.
  using Shapes = std::set<std::pair<int64_t, int64_t>>;
  explicit KeptResults(Shapes never_kept = {}) : never_kept_(std::move(never_kept)) {}

  /// While it lives, operations on this thread keep into `results`, or take from them.
  class Run {
   public:
    enum class Mode { kKeep, kTake };
    Run(KeptResults& results, Mode mode);
    ~Run();
    Run(const Run&) = delete;
    Run& operator=(const Run&) = delete;

   private:
    KeptResults* before_;
  };

  /// Those of this thread's run; null outside of one.
  static KeptResults* current();

  /// Whether this product's result is one to keep. Counts, so ask once for each.
  bool keeps_linear(int64_t in, int64_t out);
  /// compute()'s results, kept by the first run; the second gets them back uncomputed.
  std::vector<at::Tensor> keep(const std::function<std::vector<at::Tensor>()>& compute);

 private:
  Shapes never_kept_;
  bool takes_ = false;
  int64_t linears_ = 0;
  std::deque<std::vector<at::Tensor>> kept_;
};

/// compute(), through the current run's `keep` where there is one.
std::vector<at::Tensor> kept_or_computed(const std::function<std::vector<at::Tensor>()>& compute);

}  // namespace coeus
