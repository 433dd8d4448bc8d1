#include "timer.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "arena.h"
#include "coeus/kernels/cuda/attention.h"
#include "coeus/kernels/cuda/check.h"
#include "coeus/mask/sequence_layout.h"
#include "comparisons.h"
#include "grid.h"
#include "judge.h"
#include "placed_mask.h"
#include "problem.h"
#include "tensor.h"
#include "wait.h"

namespace coeus::cuda {

namespace {

struct TimedCase {
  int length;
  Heads heads;
  Dims dims;
  const char* name;
  const char* mask;
};

constexpr const char* kCausal = "causal";
constexpr const char* kDocuments = "causal & document";
constexpr const char* kWindow = "sliding_window(1024)";
constexpr const char* kIrope = "causal & document & chunk(2048)";

__global__ void count_not_finite_kernel(const uint16_t* words, bool is_half, int64_t count,
                                        Score* score) {
  const unsigned exponent = is_half ? 0x7C00 : 0x7F80;
  unsigned found = 0;
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step)
    found += (words[i] & exponent) == exponent;
  if (found > 0) atomicAdd(&score->not_finite, found);
}

/// What `start_once` takes on the stream, in milliseconds: the median.
template <class Start>
double median_ms(cudaStream_t stream, const std::string& name, Start start_once) {
  constexpr int kWarmUps = 3;
  constexpr int kRuns = 10;
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "cudaEventCreate");
  check(cudaEventCreate(&end), "cudaEventCreate");
  std::vector<double> times;
  for (int i = 0; i < kWarmUps + kRuns; ++i) {
    check(cudaEventRecord(begin, stream), "cudaEventRecord");
    start_once();
    check(cudaEventRecord(end, stream), "cudaEventRecord");
    finish(stream, name);
    float ms = 0;
    check(cudaEventElapsedTime(&ms, begin, end), "cudaEventElapsedTime");
    if (i >= kWarmUps) times.push_back(ms);
  }
  check(cudaEventDestroy(begin), "cudaEventDestroy");
  check(cudaEventDestroy(end), "cudaEventDestroy");
  std::sort(times.begin(), times.end());
  return (times[kRuns / 2 - 1] + times[kRuns / 2]) / 2;
}

class Timer {
 public:
  Timer(const Options& options, cudaStream_t stream)
      : options_(options), stream_(stream), arena_(size_t{24} << 30, stream) {}

  /// Whether all results were finite.
  bool run();

 private:
  bool time_case(const TimedCase& c);
  bool are_finite(const std::vector<const Tensor*>& tensors);

  const Options& options_;
  cudaStream_t stream_;
  Arena arena_;
};

bool Timer::are_finite(const std::vector<const Tensor*>& tensors) {
  auto* const score = arena_.take_array<Score>(1);
  check(cudaMemsetAsync(score, 0, sizeof(Score), stream_), "cudaMemsetAsync");
  for (const Tensor* const x : tensors) {
    count_not_finite_kernel<<<blocks_for(x->stored()), kThreads, 0, stream_>>>(
        static_cast<const uint16_t*>(x->view.data), x->type == ElementType::kFloat16, x->stored(),
        score);
    check(cudaGetLastError(), "count_not_finite_kernel");
  }
  finish(stream_, "looking for values that are not finite");
  Score found{};
  check(cudaMemcpy(&found, score, sizeof(Score), cudaMemcpyDeviceToHost), "cudaMemcpy");
  return found.not_finite == 0;
}

bool Timer::time_case(const TimedCase& c) {
  const std::string name = "[" + std::to_string(c.length) + " " + std::to_string(c.heads.heads) +
                           "/" + std::to_string(c.heads.kv_heads) + " " +
                           std::to_string(c.dims.head_dim) + "/" +
                           std::to_string(c.dims.value_dim) + " " + c.name + "]";
  if (name.find(options_.filter) == std::string::npos) return true;
  arena_.give_back_all();
  const PlacedMask placed(
      c.mask, {SequenceLayout::from_document_lengths(document_lengths(c.length, 2048, 1))},
      options_.deterministic, stream_);
  const AttentionShape shape{
      1, c.length, c.length, c.heads.heads, c.heads.kv_heads, c.dims.head_dim, c.dims.value_dim};
  const Problem problem{shape,           ElementType::kBFloat16,
                        Layout::kTokens, 1 / std::sqrt(static_cast<float>(c.dims.head_dim)),
                        placed.device,   options_.deterministic};
  const Inputs inputs = make_inputs(arena_, problem);
  uint64_t seed = 1;
  for (const Input x : kInputs) fill(inputs.*x, nullptr, ++seed, stream_);
  const Results results = make_results(arena_, problem);
  int* const counter = arena_.take_array<int>(1);
  const AttentionForward forward = forward_of(problem, inputs, results, counter);
  AttentionBackward backward = backward_of(problem, inputs, results, results, nullptr);
  const bool is_hopper = options_.hopper && hopper_takes(forward);
  const bool has_backward = !options_.forward_only;
  if (has_backward) {
    backward.scratch =
        arena_.take(std::max(plain_backward_scratch_bytes(shape),
                             options_.hopper ? hopper_backward_scratch_bytes(shape) : 0));
  }
  const bool is_hopper_backward = has_backward && options_.hopper && hopper_takes(backward);
  finish(stream_, name + " inputs");

  const double forward_ms = median_ms(stream_, name + " forward", [&] {
    is_hopper ? hopper_forward(forward, stream_) : plain_forward(forward, stream_);
  });
  double backward_ms = 0;
  if (has_backward) {
    backward_ms = median_ms(stream_, name + " backward", [&] {
      is_hopper_backward ? hopper_backward(backward, stream_) : plain_backward(backward, stream_);
    });
  }
  std::vector<const Tensor*> made = {&results.out};
  if (has_backward) made.insert(made.end(), {&results.grad_q, &results.grad_k, &results.grad_v});
  const bool finite = are_finite(made);

  if (options_.repeats > 0) {
    // Everything but grad_q is summed in one order, so it has the same bits in every run.
    const auto differences = [&](const char* what, const Tensor& x, const auto& start_once) {
      const int64_t n = x.stored();
      auto* const first = arena_.take_array<uint16_t>(n);
      auto* const score = arena_.take_array<Score>(1);
      check(cudaMemcpyAsync(first, x.view.data, 2 * n, cudaMemcpyDeviceToDevice, stream_),
            "cudaMemcpyAsync");
      int runs = 0;
      for (int i = 0; i < options_.repeats; ++i) {
        start_once();
        check(cudaMemsetAsync(score, 0, sizeof(Score), stream_), "cudaMemsetAsync");
        count_differences(first, x.view.data, n, score, stream_);
        finish(stream_, name + " repeated");
        Score found{};
        check(cudaMemcpy(&found, score, sizeof(Score), cudaMemcpyDeviceToHost), "cudaMemcpy");
        if (found.differences == 0) continue;
        if (runs++ < 3)
          std::printf("%s %s: run %d differs in %u values\n", name.c_str(), what, i,
                      found.differences);
      }
      std::printf("%s %s: %d of %d runs differ\n", name.c_str(), what, runs, options_.repeats);
    };
    differences("out", results.out, [&] { hopper_forward(forward, stream_); });
    if (is_hopper_backward) {
      differences("grad_k", results.grad_k, [&] { hopper_backward(backward, stream_); });
      differences("grad_v", results.grad_v, [&] { hopper_backward(backward, stream_); });
      if (options_.deterministic)
        differences("grad_q", results.grad_q, [&] { hopper_backward(backward, stream_); });
    }
  }

  const double area = static_cast<double>(placed.mask.area());
  const double operations = 2 * area * c.heads.heads * (c.dims.head_dim + c.dims.value_dim);
  const auto rate = [](double work, double ms) { return ms > 0 ? work / ms * 1e-9 : 0; };
  std::printf(
      "| %d | %d/%d | %d/%d | %s | %.4g M | %s%.3f | %.0f | %s%.3f | %.0f | %.2f | %.2f | %.2f | "
      "%.0f | %.1f |%s\n",
      c.length, c.heads.heads, c.heads.kv_heads, c.dims.head_dim, c.dims.value_dim, c.name,
      area * 1e-6, is_hopper ? "" : "plain ", forward_ms, rate(operations, forward_ms),
      !has_backward || is_hopper_backward ? "" : "plain ", backward_ms,
      rate(2.5 * operations, backward_ms), placed.lower_ms, placed.pack_ms, placed.place_ms,
      static_cast<double>(placed.host_bytes) / 1024,
      static_cast<double>(placed.device_bytes) / (1024 * 1024), finite ? "" : " NOT FINITE");
  std::fflush(stdout);
  return finite;
}

bool Timer::run() {
  const std::vector<TimedCase> cases = {
      {8192, {32, 8}, {128, 128}, "causal", kCausal},
      {8192, {32, 8}, {128, 128}, "documents", kDocuments},
      {8192, {32, 8}, {128, 128}, "window", kWindow},
      {8192, {32, 8}, {128, 128}, "irope", kIrope},
      {32768, {32, 8}, {128, 128}, "causal", kCausal},
      {32768, {32, 8}, {128, 128}, "documents", kDocuments},
      {8192, {64, 8}, {128, 128}, "causal", kCausal},
      {32768, {64, 8}, {128, 128}, "causal", kCausal},
      {32768, {64, 8}, {128, 128}, "documents", kDocuments},
      {8192, {16, 16}, {192, 128}, "causal", kCausal},
      {8192, {16, 16}, {192, 128}, "documents", kDocuments},
      {8192, {16, 16}, {192, 128}, "window", kWindow},
      {8192, {16, 16}, {192, 128}, "irope", kIrope},
      {8192, {128, 128}, {192, 128}, "causal", kCausal},
      {8192, {32, 32}, {64, 64}, "causal", kCausal},
      {8192, {32, 32}, {64, 64}, "documents", kDocuments},
      {8192, {32, 32}, {64, 64}, "window", kWindow},
      {8192, {32, 32}, {64, 64}, "irope", kIrope},
  };
  std::printf(
      "| S | heads | dims | mask | area | forward ms | TFLOP/s | backward ms | TFLOP/s | lower ms "
      "| "
      "pack ms | place ms | packed KiB | device MiB |\n"
      "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n");
  bool right = true;
  for (const TimedCase& c : cases) right = time_case(c) && right;
  return right;
}

}  // namespace

bool time_cases(const Options& options, cudaStream_t stream) {
  return Timer(options, stream).run();
}

}  // namespace coeus::cuda
