#include "checker.h"

#include <cuda_runtime.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "coeus/kernels/cuda/attention.h"
#include "coeus/kernels/cuda/check.h"
#include "coeus/kernels/cuda/vectors.cuh"
#include "exact_attention.h"
#include "wait.h"

namespace coeus::cuda {

std::string Case::name() const {
  const char* const layouts[] = {"tokens", "heads", "apart"};
  return "[" + mask + " S" + std::to_string(length) + " B" + std::to_string(batch) + " H" +
         std::to_string(heads.heads) + "/" + std::to_string(heads.kv_heads) + " D" +
         std::to_string(dims.head_dim) + "/" + std::to_string(dims.value_dim) + " " +
         name_of(type) + " " + layouts[static_cast<int>(layout)] + "]";
}

Checker::Checker(const Options& options, cudaStream_t stream)
    : options_(options),
      stream_(stream),
      arena_(size_t{4} << 30, stream),
      comparisons_(arena_, stream) {}

const double* Checker::upload(const std::vector<double>& x) {
  auto* const at = arena_.take_array<double>(static_cast<int64_t>(x.size()));
  check(cudaMemcpyAsync(at, x.data(), x.size() * sizeof(double), cudaMemcpyHostToDevice, stream_),
        "cudaMemcpyAsync");
  return at;
}

std::vector<float> Checker::download(const float* x, int64_t count) {
  std::vector<float> host(count);
  check(cudaMemcpyAsync(host.data(), x, count * sizeof(float), cudaMemcpyDeviceToHost, stream_),
        "cudaMemcpyAsync");
  return host;
}

void Checker::check_case(const Case& c, const PlacedMask& placed) {
  arena_.give_back_all();
  comparisons_.start();
  const std::string name = c.name();
  const std::string suffix = std::string(" ") + name_of(c.type) + " " +
                             std::to_string(c.dims.head_dim) + "/" +
                             std::to_string(c.dims.value_dim);
  const AttentionShape shape{c.batch,          c.length,        c.length,        c.heads.heads,
                             c.heads.kv_heads, c.dims.head_dim, c.dims.value_dim};
  const float scale = 1 / std::sqrt(static_cast<float>(c.dims.head_dim));
  const Problem typed{shape, c.type, c.layout, scale, placed.device, options_.deterministic};
  const Problem exact{shape, ElementType::kFloat32, Layout::kTokens, scale, placed.device};
  const bool has_backward = !options_.forward_only;

  const Inputs inputs = make_inputs(arena_, typed);
  const Inputs exact_inputs = make_inputs(arena_, exact);
  const auto data_of = [](const Tensor& x) { return static_cast<float*>(x.view.data); };
  uint64_t seed = 1000003 * static_cast<uint64_t>(c.length) + 17 * c.dims.head_dim + c.heads.heads;
  for (const Input x : kInputs) fill(inputs.*x, data_of(exact_inputs.*x), ++seed, stream_);

  int* const counter = arena_.take_array<int>(1);
  void* const plain_scratch = arena_.take(plain_backward_scratch_bytes(shape));
  const Results plain = make_results(arena_, exact);
  plain_forward(forward_of(exact, exact_inputs, plain, counter), stream_);
  finish(stream_, name + " plain_forward fp32");
  if (has_backward) {
    plain_backward(backward_of(exact, exact_inputs, plain, plain, plain_scratch), stream_);
    finish(stream_, name + " plain_backward fp32");
  }

  // What all others are held to: the CPU where that is soon done.
  const References<float> by_plain{data_of(plain.out), plain.lse, data_of(plain.grad_q),
                                   data_of(plain.grad_k), data_of(plain.grad_v)};
  References<double> by_cpu{};
  constexpr int kCpuLength = 300;
  constexpr int kCpuHeads = 4;
  const bool has_cpu = c.length <= kCpuLength && c.heads.heads <= kCpuHeads && c.batch == 1;
  Exact by_definition;
  if (has_cpu) {
    const ExactInputs host{download(data_of(exact_inputs.q), exact_inputs.q.count()),
                           download(data_of(exact_inputs.k), exact_inputs.k.count()),
                           download(data_of(exact_inputs.v), exact_inputs.v.count()),
                           download(data_of(exact_inputs.grad_out), exact_inputs.grad_out.count())};
    finish(stream_, name + " copying the inputs");
    by_definition = attend_exactly(shape, scale, placed.mask.to_dense(0), host);
    by_cpu = {upload(by_definition.out), upload(by_definition.lse), upload(by_definition.grad_q),
              upload(by_definition.grad_k), upload(by_definition.grad_v)};
    comparisons_.compare(
        "plain fp32 " + std::to_string(c.dims.head_dim) + "/" + std::to_string(c.dims.value_dim),
        plain, shape, bounds_of(ElementType::kFloat32), by_cpu, has_backward);
  }
  const auto compare_typed = [&](const std::string& kernel, const Results& r, bool with_gradients) {
    if (has_cpu) {
      comparisons_.compare(kernel + suffix, r, shape, bounds_of(c.type), by_cpu, with_gradients);
    } else {
      comparisons_.compare(kernel + suffix, r, shape, bounds_of(c.type), by_plain, with_gradients);
    }
  };

  const Results typed_plain = make_results(arena_, typed);
  plain_forward(forward_of(typed, inputs, typed_plain, counter), stream_);
  finish(stream_, name + " plain_forward");
  if (has_backward) {
    plain_backward(backward_of(typed, inputs, typed_plain, typed_plain, plain_scratch), stream_);
    finish(stream_, name + " plain_backward");
  }
  compare_typed("plain", typed_plain, has_backward);

  if (options_.hopper) {
    const Results first = make_results(arena_, typed);
    const Results second = make_results(arena_, typed);
    const AttentionForward forward = forward_of(typed, inputs, first, counter);
    const bool takes_forward = hopper_takes(forward);
    if (takes_forward) {
      hopper_forward(forward, stream_);
      finish(stream_, name + " hopper_forward");
      hopper_forward(forward_of(typed, inputs, second, counter), stream_);
      finish(stream_, name + " hopper_forward, second run");
      const int64_t bytes = first.out.stored() * size_of(c.type);
      comparisons_.compare_bitwise("hopper" + suffix, "out", first.out.view.data,
                                   second.out.view.data, bytes, true);
      comparisons_.compare_bitwise("hopper" + suffix, "lse", first.lse, second.lse,
                                   4 * lse_count(shape), true);
    } else {
      ++not_taken_["hopper_forward" + suffix];
    }
    const Results& forward_results = takes_forward ? first : typed_plain;
    const int64_t scratch_bytes = hopper_backward_scratch_bytes(shape);
    const AttentionBackward backward = backward_of(
        typed, inputs, forward_results, first, has_backward ? arena_.take(scratch_bytes) : nullptr);
    const bool takes_backward = has_backward && hopper_takes(backward);
    if (takes_backward) {
      hopper_backward(backward, stream_);
      finish(stream_, name + " hopper_backward");
      hopper_backward(
          backward_of(typed, inputs, forward_results, second, arena_.take(scratch_bytes)), stream_);
      finish(stream_, name + " hopper_backward, second run");
      for (const Result x : kGradients) {
        comparisons_.compare_bitwise("hopper" + suffix, "gradients", (first.*x).view.data,
                                     (second.*x).view.data, (first.*x).stored() * size_of(c.type),
                                     options_.deterministic);
      }
    } else if (has_backward) {
      ++not_taken_["hopper_backward" + suffix];
    }
    if (takes_forward) compare_typed("hopper", first, takes_backward);
  }
  finish(stream_, name + " comparing");
  judge_.judge(name, comparisons_.judgements(), comparisons_.scores());
}

int Checker::print_summaries() const {
  const int wrong = judge_.print_summaries();
  for (const auto& [kernel, count] : not_taken_)
    std::printf("not taken: %s in %d cases\n", kernel.c_str(), count);
  return wrong;
}

}  // namespace coeus::cuda
