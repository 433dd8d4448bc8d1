// Attention engines side by side: block_sparse against LibTorch's CPU flash attention, on plain
// causal attention and on masks that hide most of the square, where LibTorch takes the mask as a
// dense bias. `items_per_second` are floating-point operations over the mask's true area (forward 4
// a visible pair and element of the head dim, backward 2.5 times that).
//
//   attention --benchmark_filter=causal        --benchmark_counters_tabular=true
#include <benchmark/benchmark.h>
#include <malloc.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <random>

#include "coeus/base/floating_point.h"
#include "coeus/mask/lower.h"
#include "coeus/ops/attention.h"

namespace {

using namespace coeus;

constexpr int64_t kHeads = 8;

/// Packed documents of exponentially distributed lengths; one document without a mean.
SequenceLayout documents(int64_t tokens, int64_t mean) {
  std::vector<int64_t> lengths;
  std::mt19937 generator(1);
  std::exponential_distribution<double> draw(mean == 0 ? 1.0 : 1.0 / static_cast<double>(mean));
  for (int64_t left = tokens; left > 0; left -= lengths.back())
    lengths.push_back(mean == 0 ? left : std::min(left, 1 + static_cast<int64_t>(draw(generator))));
  return SequenceLayout::from_document_lengths(lengths);
}

struct Case {
  const char* name;
  const char* mask;
  int64_t tokens;
  int64_t document_mean;
};

constexpr Case kCases[] = {
    {"causal_4096", "causal", 4096, 0},
    {"causal_8192", "causal", 8192, 0},
    {"documents_256", "causal & document", 8192, 256},
    {"window_512", "causal & sliding_window(512)", 8192, 0},
    {"chunk_256_documents", "causal & document & chunk(256)", 8192, 256},
    {"sink_64_window_512", "causal & (sink(64) | sliding_window(512))", 8192, 0},
};

/// How a case is computed.
enum class Way { kBlockSparse, kSdpaSegments, kLibTorchCausal, kLibTorchDense };

struct Inputs {
  Inputs(const Case& of, int64_t head_dim, at::ScalarType dtype)
      : mask(lower(parse_mask(of.mask), std::vector{documents(of.tokens, of.document_mean)})) {
    torch::manual_seed(1);
    const auto options = at::TensorOptions().dtype(dtype);
    const auto draw = [&] { return at::randn({1, of.tokens, kHeads, head_dim}, options); };
    q = draw().set_requires_grad(true);
    k = draw().set_requires_grad(true);
    v = draw().set_requires_grad(true);
    grad = draw();
  }
  BlockMask mask;
  at::Tensor q, k, v, grad;
};

at::Tensor compute(const Inputs& in, Way way, const at::Tensor& bias) {
  const double scale = 1.0 / std::sqrt(static_cast<double>(in.q.size(3)));
  if (way == Way::kBlockSparse) return attention_block_sparse(in.q, in.k, in.v, in.mask, scale);
  if (way == Way::kSdpaSegments) return attention_sdpa(in.q, in.k, in.v, in.mask, scale);
  std::optional<at::Tensor> mask;
  if (way == Way::kLibTorchDense) mask = bias;
  return at::scaled_dot_product_attention(in.q.transpose(1, 2), in.k.transpose(1, 2),
                                          in.v.transpose(1, 2), mask, 0.0,
                                          way == Way::kLibTorchCausal)
      .transpose(1, 2);
}

void attend(benchmark::State& state, const Case& of, Way way, int64_t head_dim,
            at::ScalarType dtype, bool backward) {
  flush_denormals_to_zero();
  const Inputs in(of, head_dim, dtype);
  at::Tensor bias;
  if (way == Way::kLibTorchDense) {
    bias = at::full({1, 1, of.tokens, of.tokens}, -INFINITY, at::TensorOptions().dtype(dtype));
    const std::vector<uint8_t> dense = in.mask.to_dense(0);
    const at::Tensor visible =
        at::from_blob(const_cast<uint8_t*>(dense.data()), {1, 1, of.tokens, of.tokens}, at::kByte);
    bias.masked_fill_(visible.to(at::kBool), 0.0);
  }
  double flops = 4.0 * static_cast<double>(in.mask.area()) * static_cast<double>(kHeads * head_dim);
  if (backward) {
    flops *= 2.5;
    const at::Tensor out = compute(in, way, bias);
    for (auto _ : state)
      benchmark::DoNotOptimize(torch::autograd::grad({out}, {in.q, in.k, in.v}, {in.grad},
                                                     /*retain_graph=*/true));
  } else {
    const torch::NoGradGuard no_grad;
    for (auto _ : state) benchmark::DoNotOptimize(compute(in, way, bias));
  }
  state.SetItemsProcessed(static_cast<int64_t>(flops) * state.iterations());
}

const char* name_of_way(Way way) {
  switch (way) {
    case Way::kBlockSparse:
      return "block_sparse";
    case Way::kSdpaSegments:
      return "sdpa";
    case Way::kLibTorchCausal:
      return "libtorch_causal";
    case Way::kLibTorchDense:
      return "libtorch_dense_mask";
  }
  return "";
}

const int registered = [] {
  // As in training, memory of one call serves the next: no figure holds the clearing of pages.
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, INT32_MAX);
  for (const Case& of : kCases)
    for (const auto dtype : {at::kFloat, at::kBFloat16})
      for (const int64_t head_dim : {64, 128})
        for (const Way way :
             {Way::kBlockSparse, Way::kSdpaSegments, Way::kLibTorchCausal, Way::kLibTorchDense}) {
          const std::string_view mask = of.mask;
          const bool plain = mask == "causal";
          if (way == Way::kLibTorchCausal ? !plain : way == Way::kLibTorchDense && plain) continue;
          if (way == Way::kSdpaSegments && (plain || mask.find("window") != mask.npos)) continue;
          for (const bool backward : {false, true})
            benchmark::RegisterBenchmark(
                fmt::format("{}/{}/D{}/{}/{}", of.name, dtype == at::kFloat ? "fp32" : "bf16",
                            head_dim, name_of_way(way), backward ? "backward" : "forward")
                    .c_str(),
                [=, &of](benchmark::State& state) {
                  attend(state, of, way, head_dim, dtype, backward);
                })
                ->Unit(benchmark::kMillisecond)
                ->UseRealTime();
        }
  return 0;
}();

}  // namespace
