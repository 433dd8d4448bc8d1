#include "coeus/ops/attention.h"

#include <torch/torch.h>

#include <cmath>

#include "coeus/base/error.h"

namespace coeus {

namespace {

void check(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const BlockMask& mask) {
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

}  // namespace

AttentionEngine attention_engine_from_name(std::string_view name) {
  if (name == "auto") return AttentionEngine::kAuto;
  if (name == "reference") return AttentionEngine::kReference;
  if (name == "sdpa") return AttentionEngine::kSdpa;
  throw ConfigError(fmt::format(
      "attention.engine = \"{}\" is not supported yet; use auto, reference or sdpa", name));
}

std::string_view name_of(AttentionEngine engine) {
  switch (engine) {
    case AttentionEngine::kAuto:
      return "auto";
    case AttentionEngine::kReference:
      return "reference";
    case AttentionEngine::kSdpa:
      return "sdpa";
  }
  return "";
}

EngineChoice choose_attention_engine(const at::Tensor& q, const at::Tensor& v,
                                     const BlockMask& mask) {
  if (!q.device().is_cpu())
    return {AttentionEngine::kReference, "the tensors are not on the CPU, where sdpa works"};
  if (q.size(3) != v.size(3))
    return {AttentionEngine::kReference, "sdpa wants values as wide as keys"};
  for (int64_t row = 0; row < mask.batch_size(); ++row)
    if (!mask.segments(row))
      return {AttentionEngine::kReference,
              "the mask is no list of causal or full runs, which is all that sdpa can do"};
  return {AttentionEngine::kSdpa, "the mask is a list of causal or full runs"};
}

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const BlockMask& mask, const AttentionOptions& options) {
  check(q, k, v, mask);
  const double scale = options.scale.value_or(1.0 / std::sqrt(static_cast<double>(q.size(3))));
  AttentionEngine engine = options.engine;
  if (engine == AttentionEngine::kAuto) engine = choose_attention_engine(q, v, mask).engine;
  if (engine == AttentionEngine::kReference) return attention_reference(q, k, v, mask, scale);
  return attention_sdpa(q, k, v, mask, scale);
}

}  // namespace coeus
