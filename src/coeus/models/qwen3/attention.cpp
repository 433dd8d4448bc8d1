#include "coeus/models/qwen3/attention.h"

#include <torch/types.h>

#include "coeus/base/error.h"
#include "coeus/nn/init.h"
#include "coeus/ops/rope.h"

namespace coeus::qwen3 {

AttentionImpl::AttentionImpl(const AttentionSizes& sizes, AttentionEngine engine,
                             const at::TensorOptions& options)
    : head_dim_(sizes.head_dim) {
  COEUS_CHECK(sizes.n_kv_heads > 0 && sizes.n_heads % sizes.n_kv_heads == 0,
              "[qwen3] n_heads {} must be a multiple of n_kv_heads {}", sizes.n_heads,
              sizes.n_kv_heads);
  if (sizes.qk_norm) {
    q_norm_ = register_module("q_norm", nn::RMSNorm(head_dim_, sizes.norm_eps, options));
    k_norm_ = register_module("k_norm", nn::RMSNorm(head_dim_, sizes.norm_eps, options));
  }
  wq_ = register_module("wq", nn::Linear(sizes.dim, sizes.n_heads * head_dim_, options));
  wk_ = register_module("wk", nn::Linear(sizes.dim, sizes.n_kv_heads * head_dim_, options));
  wv_ = register_module("wv", nn::Linear(sizes.dim, sizes.n_kv_heads * head_dim_, options));
  wo_ = register_module("wo", nn::Linear(sizes.n_heads * head_dim_, sizes.dim, options));
  inner_attention_ = register_module("inner_attention", nn::InnerAttention(engine));
}

at::Tensor AttentionImpl::forward(const at::Tensor& input, const at::Tensor& rope_table,
                                  const at::Tensor& positions, const BlockMask& mask,
                                  nn::KeyValueCache* cache) {
  const at::Tensor x = entered(input);
  const auto heads = [&](nn::Linear& projection) {
    return projection(x).unflatten(-1, {-1, head_dim_});
  };
  const auto rotated = [&](nn::Linear& projection, nn::RMSNorm& norm) {
    const at::Tensor plain = heads(projection);
    return rope(norm.is_empty() ? plain : norm(plain), rope_table, positions, RopePairs::kHalves);
  };
  const at::Tensor q = rotated(wq_, q_norm_);
  at::Tensor k = rotated(wk_, k_norm_);
  at::Tensor v = heads(wv_);
  if (cache != nullptr) cache->extend(this, {&k, &v});
  return left(wo_(inner_attention_(q, k, v, mask).flatten(-2)));
}

void AttentionImpl::init_weights(uint64_t seed, const std::string& prefix, double out_std) {
  if (!q_norm_.is_empty()) {
    nn::init_ones(q_norm_->weight);
    nn::init_ones(k_norm_->weight);
  }
  nn::init_truncated_normal(wq_->weight, seed, prefix + ".wq.weight", 0.02);
  nn::init_truncated_normal(wk_->weight, seed, prefix + ".wk.weight", 0.02);
  nn::init_truncated_normal(wv_->weight, seed, prefix + ".wv.weight", 0.02);
  nn::init_truncated_normal(wo_->weight, seed, prefix + ".wo.weight", out_std);
}

}  // namespace coeus::qwen3
