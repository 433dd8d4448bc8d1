#include "coeus/ops/attention.h"

#include <ATen/Parallel.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/types.h>

#include <array>
#include <cmath>

#include "coeus/base/error.h"
#include "coeus/ops/attention_cost.h"
#include "coeus/ops/attention_part.h"
#include "coeus/ops/attention_report.h"
#include "coeus/ops/attention_varlen.h"
#include "coeus/ops/device_attention.h"

namespace coeus {

namespace {

constexpr std::array kEngines = {AttentionEngine::kAuto, AttentionEngine::kReference,
                                 AttentionEngine::kSdpa, AttentionEngine::kBlockSparse,
                                 AttentionEngine::kCheck};

AttentionWork work_of(const at::Tensor& q, const at::Tensor& v) {
  return {.heads = q.size(2),
          .kv_heads = v.size(2),
          .head_dim = q.size(3),
          .value_dim = v.size(3),
          .number = q.scalar_type() == at::kFloat      ? AttentionNumber::kFloat32
                    : q.scalar_type() == at::kBFloat16 ? AttentionNumber::kBFloat16
                                                       : AttentionNumber::kOther,
          .threads = at::get_num_threads()};
}

bool is_list_of_runs(const BlockMask& mask) {
  for (int64_t row = 0; row < mask.batch_size(); ++row)
    if (!mask.segments(row)) return false;
  return true;
}

/// On a GPU own kernels serve every mask. LibTorch's are taken where they are measured to be
/// faster, and where only own plain ones would serve; not in deterministic computation.
EngineChoice choose_on_device(const at::Tensor& q, const at::Tensor& v, const BlockMask& mask,
                              const std::string& refusal) {
  const bool sdpa_takes =
      !at::globalContext().deterministicAlgorithms() && varlen_refusal(q, v).empty();
  if (!refusal.empty()) {
    if (sdpa_takes && is_list_of_runs(mask))
      return {AttentionEngine::kSdpa, "block_sparse takes " + refusal};
    return {AttentionEngine::kReference, "block_sparse takes " + refusal};
  }
  const auto kernels = device_attention(q.device().type())->kernels(q, v);
  if (sdpa_takes && kernels.fast && is_one_run(mask)) {
    const double ratio = own_time_over_cudnn(work_of(q, v));
    if (ratio > 1)
      return {AttentionEngine::kSdpa,
              fmt::format("one run of tokens, which took {} {:.2f} times cuDNN's time for the "
                          "nearest measured shape",
                          kernels.name, ratio)};
  }
  if (sdpa_takes && !kernels.fast && is_list_of_runs(mask))
    return {AttentionEngine::kSdpa,
            fmt::format("runs of tokens, and block_sparse has only its {} for them here",
                        kernels.name)};
  return {AttentionEngine::kBlockSparse,
          fmt::format("it serves tensors on {} under every mask, by its {}", q.device().str(),
                      kernels.name)};
}

}  // namespace

AttentionEngine attention_engine_from_name(std::string_view name) {
  for (const AttentionEngine engine : kEngines)
    if (name == name_of(engine)) return engine;
  throw ConfigError(
      fmt::format("attention.engine = \"{}\" is not an engine; use auto, reference, sdpa, "
                  "block_sparse or check",
                  name));
}

std::string_view name_of(AttentionEngine engine) {
  switch (engine) {
    case AttentionEngine::kAuto:
      return "auto";
    case AttentionEngine::kReference:
      return "reference";
    case AttentionEngine::kSdpa:
      return "sdpa";
    case AttentionEngine::kBlockSparse:
      return "block_sparse";
    case AttentionEngine::kCheck:
      return "check";
  }
  return "";
}

EngineChoice choose_attention_engine(const at::Tensor& q, const at::Tensor& v,
                                     const BlockMask& mask) {
  const std::string refusal = block_sparse_refusal(q, v);
  if (!q.device().is_cpu()) return choose_on_device(q, v, mask, refusal);
  const AttentionWork work = work_of(q, v);
  EngineChoice choice = {AttentionEngine::kReference, ""};
  double least = reference_nanoseconds(work, mask);
  std::string costs = fmt::format("reference {:.3g} ms", least * 1e-6);
  const auto consider = [&](AttentionEngine engine, double nanoseconds) {
    costs = fmt::format("{} {:.3g} ms, {}", name_of(engine), nanoseconds * 1e-6, costs);
    if (nanoseconds >= least) return;
    least = nanoseconds;
    choice.engine = engine;
  };
  if (refusal.empty())
    consider(AttentionEngine::kBlockSparse, block_sparse_nanoseconds(work, mask));
  std::string sdpa_cannot;
  if (q.size(3) != v.size(3)) {
    sdpa_cannot = fmt::format("; not sdpa: keys are {} wide and values {}", q.size(3), v.size(3));
  } else if (const auto nanoseconds = sdpa_nanoseconds(work, mask)) {
    consider(AttentionEngine::kSdpa, *nanoseconds);
  } else {
    sdpa_cannot = "; not sdpa: the mask is no short list of causal or full runs";
  }
  const TileCounts tiles = mask.tile_counts();
  choice.reason =
      fmt::format("estimated {}{}; {:.1f}% of the pairs visible, {} full and {} partial tiles",
                  costs, sdpa_cannot, 100 * (1 - mask.sparsity()), tiles.full, tiles.partial);
  return choice;
}

EngineChoice resolve_attention_engine(const at::Tensor& q, const at::Tensor& v,
                                      const BlockMask& mask, AttentionEngine engine) {
  if (engine == AttentionEngine::kAuto || engine == AttentionEngine::kCheck)
    return choose_attention_engine(q, v, mask);
  const std::string refusal =
      engine == AttentionEngine::kBlockSparse ? block_sparse_refusal(q, v) : "";
  COEUS_CHECK(refusal.empty(), "[attention] the engine block_sparse takes {}; use engine reference",
              refusal);
  return {engine, "attention.engine asks for it"};
}

at::Tensor attention_by(AttentionEngine engine, const at::Tensor& q, const at::Tensor& k,
                        const at::Tensor& v, const BlockMask& mask, double scale) {
  switch (engine) {
    case AttentionEngine::kSdpa:
      return attention_sdpa(q, k, v, mask, scale);
    case AttentionEngine::kBlockSparse:
      return attention_block_sparse(q, k, v, mask, scale);
    case AttentionEngine::kReference:
      return attention_reference(q, k, v, mask, scale);
    case AttentionEngine::kAuto:
    case AttentionEngine::kCheck:
      break;
  }
  COEUS_ASSERT(false);
  return {};
}

void check_attention_arguments(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                               const BlockMask& mask) {
  COEUS_CHECK(q.dim() == 4 && k.dim() == 4 && v.dim() == 4,
              "[attention] q, k and v must be [batch, tokens, heads, head_dim], got {}, {} and {}",
              q.sizes(), k.sizes(), v.sizes());
  COEUS_CHECK(q.scalar_type() == k.scalar_type() && q.scalar_type() == v.scalar_type() &&
                  q.is_floating_point(),
              "[attention] q, k and v must have one floating-point dtype, got {}, {} and {}",
              c10::toString(q.scalar_type()), c10::toString(k.scalar_type()),
              c10::toString(v.scalar_type()));
  COEUS_CHECK(q.device() == k.device() && q.device() == v.device(),
              "[attention] q, k and v must be on one device, got {}, {} and {}", q.device().str(),
              k.device().str(), v.device().str());
  COEUS_CHECK(k.size(0) == q.size(0) && v.size(0) == q.size(0) && k.size(1) == v.size(1) &&
                  k.size(2) == v.size(2) && k.size(3) == q.size(3),
              "[attention] shapes do not fit together: q {}, k {}, v {}", q.sizes(), k.sizes(),
              v.sizes());
  COEUS_CHECK(k.size(2) > 0 && q.size(2) % k.size(2) == 0,
              "[attention] {} query heads cannot be shared among {} key heads", q.size(2),
              k.size(2));
  COEUS_CHECK(mask.batch_size() == q.size(0) && mask.query_length() == q.size(1) &&
                  mask.key_length() == k.size(1),
              "[attention] the mask is for {} rows of {} queries and {} keys, but q is {} and k {}",
              mask.batch_size(), mask.query_length(), mask.key_length(), q.sizes(), k.sizes());
}

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const BlockMask& mask, const AttentionOptions& options) {
  check_attention_arguments(q, k, v, mask);
  // Autocast would round what an engine keeps in more precision.
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
  const double scale = options.scale.value_or(1.0 / std::sqrt(static_cast<double>(q.size(3))));
  const EngineChoice choice = resolve_attention_engine(q, v, mask, options.engine);
  if (options.report == nullptr) return attention_by(choice.engine, q, k, v, mask, scale);
  options.report->add_choice(options.layer, choice, mask);
  if (options.engine == AttentionEngine::kCheck)
    return attention_checked(q, k, v, mask, scale, choice.engine, options.report, options.layer);
  return attention_by(choice.engine, q, k, v, mask, scale);
}

}  // namespace coeus
