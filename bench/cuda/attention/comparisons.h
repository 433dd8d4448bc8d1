// Comparisons of results on the device, for a judge.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <string>
#include <vector>

#include "arena.h"
#include "coeus/kernels/cuda/attention.h"
#include "judge.h"
#include "problem.h"
#include "tensor.h"

namespace coeus::cuda {

/// References in float (of the plain kernels) or double (of the CPU), by tensor.
template <class R>
struct References {
  const R *out, *lse, *grad_q, *grad_k, *grad_v;
};

/// Adds to score->differences how many of so many words of 16 bits differ. Starts the work on the
/// stream.
void count_differences(const void* a, const void* b, int64_t words, Score* score,
                       cudaStream_t stream);

/// The comparisons of one case after another. They run on the stream, with memory of the arena.
class Comparisons {
 public:
  Comparisons(Arena& arena, cudaStream_t stream);
  ~Comparisons();
  Comparisons(const Comparisons&) = delete;
  Comparisons& operator=(const Comparisons&) = delete;

  /// Begins a case: forgets those of the one before.
  void start();
  /// Of all that a kernel made with its references, whose R is float or double.
  template <class R>
  void compare(const std::string& kernel, const Results& r, const AttentionShape& shape,
               const Bounds& bounds, const References<R>& reference, bool has_backward);
  /// Of a result with that of a second run.
  void compare_bitwise(const std::string& kernel, const char* what, const void* a, const void* b,
                       int64_t bytes, bool is_fatal);

  const std::vector<Judgement>& judgements() const { return judgements_; }
  /// Of each judgement, once the stream has finished.
  std::vector<Score> scores() const;

 private:
  template <class R>
  void compare(const std::string& kernel, const char* what, const Tensor& x, const R* reference,
               double bound, double floor, Worst worst);
  void check_gaps(const std::string& kernel, const char* what, const Tensor& x);
  Score* next_score(Judgement judgement);

  Arena& arena_;
  cudaStream_t stream_;
  Score* scores_ = nullptr;
  std::vector<Judgement> judgements_;
};

}  // namespace coeus::cuda
