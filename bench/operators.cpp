// The operators beside the same in LibTorch's own: forward and backward, float32, at the sizes of
// llama3 debugmodel with 1,024 tokens.
#include <benchmark/benchmark.h>
#include <torch/types.h>

#include "coeus/mask/lower.h"
#include "coeus/ops/attention.h"
#include "coeus/ops/cross_entropy.h"
#include "coeus/ops/rms_norm.h"
#include "coeus/ops/rope.h"
#include "coeus/ops/swiglu.h"

namespace {

using namespace coeus;

constexpr int64_t kTokens = 1024, kDim = 256, kHidden = 768, kVocab = 2048, kHeads = 16;

/// Times f(inputs) and its backward.
template <class F>
void forward_backward(benchmark::State& state, std::vector<at::Tensor> inputs, F f) {
  for (at::Tensor& x : inputs) x.requires_grad_();
  at::Tensor grad;
  for (auto _ : state) {
    const at::Tensor out = f(inputs);
    if (!grad.defined()) grad = at::ones_like(out);
    out.backward(grad);
    for (at::Tensor& x : inputs) x.mutable_grad() = at::Tensor();
  }
}

template <at::Tensor (*op)(const at::Tensor&, const at::Tensor&)>
void swiglu_of(benchmark::State& state) {
  forward_backward(state, {at::randn({kTokens, kHidden}), at::randn({kTokens, kHidden})},
                   [](const auto& in) { return op(in[0], in[1]); });
}
BENCHMARK(swiglu_of<swiglu>)->Name("swiglu/own");
BENCHMARK(swiglu_of<swiglu_reference>)->Name("swiglu/torch");

template <at::Tensor (*op)(const at::Tensor&, const at::Tensor&, double)>
void rms_norm_of(benchmark::State& state) {
  forward_backward(state, {at::randn({kTokens, kDim}), at::ones({kDim})},
                   [](const auto& in) { return op(in[0], in[1], 1e-5); });
}
at::Tensor torch_rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  return at::rms_norm(x, weight.sizes(), weight, eps);
}
BENCHMARK(rms_norm_of<rms_norm>)->Name("rms_norm/own");
BENCHMARK(rms_norm_of<torch_rms_norm>)->Name("rms_norm/torch");

template <at::Tensor (*op)(const at::Tensor&, const at::Tensor&, const at::Tensor&)>
void rope_of(benchmark::State& state) {
  const int64_t head_dim = kDim / kHeads;
  const at::Tensor table = at::randn({kTokens, head_dim / 2, 2});
  const at::Tensor positions = at::arange(kTokens, at::kInt).unsqueeze(0);
  forward_backward(state, {at::randn({1, kTokens, kHeads, head_dim})},
                   [&](const auto& in) { return op(in[0], table, positions); });
}
BENCHMARK(rope_of<rope>)->Name("rope/own");
BENCHMARK(rope_of<rope_reference>)->Name("rope/torch");

template <at::Tensor (*op)(const at::Tensor&, const at::Tensor&)>
void cross_entropy_of(benchmark::State& state) {
  const at::Tensor labels = at::randint(0, kVocab, {kTokens}, at::kLong);
  forward_backward(state, {at::randn({kTokens, kVocab})},
                   [&](const auto& in) { return op(in[0], labels); });
}
BENCHMARK(cross_entropy_of<cross_entropy_sum>)->Name("cross_entropy/own");
BENCHMARK(cross_entropy_of<cross_entropy_sum_reference>)->Name("cross_entropy/torch");

void attention_by(benchmark::State& state, AttentionEngine engine, const char* mask) {
  const int64_t rows = 2, length = kTokens / rows, head_dim = kDim / kHeads;
  const std::vector<SequenceLayout> layouts(
      rows, SequenceLayout::from_document_lengths(std::vector<int64_t>(8, length / 8)));
  const BlockMask lowered = lower(parse_mask(mask), layouts);
  const auto heads = [&] { return at::randn({rows, length, kHeads, head_dim}); };
  forward_backward(state, {heads(), heads(), heads()}, [&](const auto& in) {
    return attention(in[0], in[1], in[2], lowered, {.engine = engine});
  });
}
BENCHMARK_CAPTURE(attention_by, causal_sdpa, AttentionEngine::kSdpa, "causal");
BENCHMARK_CAPTURE(attention_by, causal_reference, AttentionEngine::kReference, "causal");
BENCHMARK_CAPTURE(attention_by, documents_sdpa, AttentionEngine::kSdpa, "causal & document");
BENCHMARK_CAPTURE(attention_by, documents_reference, AttentionEngine::kReference,
                  "causal & document");

}  // namespace
