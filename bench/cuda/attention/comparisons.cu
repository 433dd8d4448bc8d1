#include "comparisons.h"

#include <cuda_runtime.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "coeus/kernels/cuda/check.h"
#include "coeus/kernels/cuda/vectors.cuh"
#include "coeus/kernels/cuda/with_type.cuh"
#include "grid.h"

namespace coeus::cuda {

namespace {

constexpr int kMostScores = 64;

/// Sums of squares of a row's difference and reference; a warp a row.
template <class T, class R>
__global__ void compare_kernel(Tensor x, const R* reference, double2* sums, Score* score) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t step = int64_t{gridDim.x} * blockDim.x / 32;
  for (int64_t row = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) / 32; row < x.rows();
       row += step) {
    const T* const values = static_cast<const T*>(x.view.data) + x.place_of(row);
    double difference = 0, squares = 0;
    unsigned bad = 0;
    for (int d = lane; d < x.dim; d += 32) {
      const double value = as_float(values[d]);
      const double expected = static_cast<double>(reference[row * x.dim + d]);
      if (!isfinite(value) || !isfinite(expected)) {
        ++bad;
        continue;
      }
      difference += (value - expected) * (value - expected);
      squares += expected * expected;
    }
    for (int other = 16; other > 0; other /= 2) {
      difference += __shfl_xor_sync(~0u, difference, other);
      squares += __shfl_xor_sync(~0u, squares, other);
      bad += __shfl_xor_sync(~0u, bad, other);
    }
    if (lane != 0) continue;
    sums[row] = {difference, squares};
    atomicAdd(&score->difference, difference);
    atomicAdd(&score->reference, squares);
    if (bad > 0) atomicAdd(&score->not_finite, bad);
  }
}

/// The worst relative error of a row; a row that is small counts as one of usual size, or of the
/// root mean square `floor`.
__global__ void worst_row_kernel(const double2* sums, int64_t rows, int dim, double floor,
                                 Score* score) {
  const double least =
      fmax(sqrt(score->reference / static_cast<double>(rows)), floor * sqrt(double(dim)));
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t row = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; row < rows; row += step) {
    const double error = sqrt(sums[row].x) / fmax(sqrt(sums[row].y), fmax(least, 1e-300));
    // Floats of one sign are in the order of their bits.
    atomicMax(&score->worst_row, __float_as_uint(static_cast<float>(error)));
  }
}

template <class R>
__global__ void compare_lse_kernel(const float* lse, const R* reference, int64_t count,
                                   Score* score) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step) {
    const double expected = static_cast<double>(reference[i]);
    const double value = lse[i];
    if (value == expected) continue;
    if (!isfinite(value) || !isfinite(expected)) {
      atomicAdd(&score->not_finite, 1u);
    } else {
      atomicMax(&score->largest, __float_as_uint(static_cast<float>(fabs(value - expected))));
    }
  }
}

/// Counts 16-bit words that differ.
__global__ void differences_kernel(const uint16_t* a, const uint16_t* b, int64_t count,
                                   Score* score) {
  unsigned found = 0;
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step)
    found += a[i] != b[i];
  if (found > 0) atomicAdd(&score->differences, found);
}

/// Counts 16-bit words of gaps that no longer are what they were made.
__global__ void gaps_kernel(Tensor x, int words, Score* score) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < x.stored() * words;
       i += step) {
    const int64_t in_row = i / words % x.view.row_stride;
    const bool is_gap =
        in_row >= x.tokens * x.view.token_stride || in_row % x.view.token_stride >= x.heads * x.dim;
    if (is_gap && static_cast<const uint16_t*>(x.view.data)[i] != 0xFFFF)
      atomicAdd(&score->differences, 1u);
  }
}

}  // namespace

Comparisons::Comparisons(Arena& arena, cudaStream_t stream) : arena_(arena), stream_(stream) {
  check(cudaMalloc(&scores_, kMostScores * sizeof(Score)), "cudaMalloc");
}

Comparisons::~Comparisons() { cudaFree(scores_); }

void Comparisons::start() {
  judgements_.clear();
  check(cudaMemsetAsync(scores_, 0, kMostScores * sizeof(Score), stream_), "cudaMemsetAsync");
}

std::vector<Score> Comparisons::scores() const {
  std::vector<Score> scores(judgements_.size());
  check(cudaMemcpy(scores.data(), scores_, scores.size() * sizeof(Score), cudaMemcpyDeviceToHost),
        "cudaMemcpy");
  return scores;
}

Score* Comparisons::next_score(Judgement judgement) {
  if (judgements_.size() == kMostScores) throw std::runtime_error("more scores than there is room");
  judgements_.push_back(std::move(judgement));
  return scores_ + judgements_.size() - 1;
}

template <class R>
void Comparisons::compare(const std::string& kernel, const char* what, const Tensor& x,
                          const R* reference, double bound, double floor, Worst worst) {
  if (x.count() == 0) return;
  Score* const score =
      next_score({Judgement::kRelative, kernel, what, bound, floor, x.count(), worst});
  auto* const sums = arena_.take_array<double2>(x.rows());
  with_type(x.type, [&](auto zero) {
    compare_kernel<decltype(zero)>
        <<<blocks_for(x.rows() * 32), kThreads, 0, stream_>>>(x, reference, sums, score);
  });
  check(cudaGetLastError(), "compare_kernel");
  worst_row_kernel<<<blocks_for(x.rows()), kThreads, 0, stream_>>>(sums, x.rows(), x.dim, floor,
                                                                   score);
  check(cudaGetLastError(), "worst_row_kernel");
  check_gaps(kernel, what, x);
}

void Comparisons::check_gaps(const std::string& kernel, const char* what, const Tensor& x) {
  if (x.layout != Layout::kApart) return;
  gaps_kernel<<<blocks_for(x.stored()), kThreads, 0, stream_>>>(
      x, static_cast<int>(size_of(x.type) / 2), next_score({Judgement::kGaps, kernel, what}));
  check(cudaGetLastError(), "gaps_kernel");
}

void count_differences(const void* a, const void* b, int64_t words, Score* score,
                       cudaStream_t stream) {
  differences_kernel<<<blocks_for(words), kThreads, 0, stream>>>(
      static_cast<const uint16_t*>(a), static_cast<const uint16_t*>(b), words, score);
  check(cudaGetLastError(), "differences_kernel");
}

void Comparisons::compare_bitwise(const std::string& kernel, const char* what, const void* a,
                                  const void* b, int64_t bytes, bool is_fatal) {
  Judgement judgement{Judgement::kBitwise, kernel, what};
  judgement.is_fatal = is_fatal;
  count_differences(a, b, bytes / 2, next_score(judgement), stream_);
}

template <class R>
void Comparisons::compare(const std::string& kernel, const Results& r, const AttentionShape& shape,
                          const Bounds& bounds, const References<R>& reference, bool has_backward) {
  compare(kernel, "out", r.out, reference.out, bounds.out, 1e-3, &Summary::out);
  compare_lse_kernel<<<blocks_for(lse_count(shape)), kThreads, 0, stream_>>>(
      r.lse, reference.lse, lse_count(shape),
      next_score({Judgement::kLargest, kernel, "lse", bounds.lse, 0, 0, &Summary::lse}));
  check(cudaGetLastError(), "compare_lse_kernel");
  if (!has_backward) return;
  const double floor = bounds.gradient_floor;
  compare(kernel, "dq", r.grad_q, reference.grad_q, bounds.gradient, floor, &Summary::grad_q);
  compare(kernel, "dk", r.grad_k, reference.grad_k, bounds.gradient, floor, &Summary::grad_k);
  compare(kernel, "dv", r.grad_v, reference.grad_v, bounds.gradient, floor, &Summary::grad_v);
}

template void Comparisons::compare(const std::string& kernel, const Results& r,
                                   const AttentionShape& shape, const Bounds& bounds,
                                   const References<float>& reference, bool has_backward);
template void Comparisons::compare(const std::string& kernel, const Results& r,
                                   const AttentionShape& shape, const Bounds& bounds,
                                   const References<double>& reference, bool has_backward);

}  // namespace coeus::cuda
