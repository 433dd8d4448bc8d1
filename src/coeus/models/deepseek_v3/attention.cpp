#include "coeus/models/deepseek_v3/attention.h"

#include <torch/types.h>

#include "coeus/nn/init.h"
#include "coeus/ops/rope.h"

namespace coeus::deepseek_v3 {

AttentionImpl::AttentionImpl(const AttentionSizes& sizes, double scale, AttentionEngine engine,
                             const at::TensorOptions& options)
    : sizes_(sizes) {
  const auto linear = [&](const std::string& name, int64_t in, int64_t out) {
    return register_module(name, nn::Linear(in, out, options));
  };
  const int64_t q_dim = sizes.n_heads * sizes.qk_head_dim();
  if (sizes.q_lora_rank == 0) {
    wq_ = linear("wq", sizes.dim, q_dim);
  } else {
    wq_a_ = linear("wq_a", sizes.dim, sizes.q_lora_rank);
    q_norm_ = register_module("q_norm", nn::RMSNorm(sizes.q_lora_rank, sizes.norm_eps, options));
    wq_b_ = linear("wq_b", sizes.q_lora_rank, q_dim);
  }
  wkv_a_ = linear("wkv_a", sizes.dim, sizes.kv_lora_rank + sizes.qk_rope_head_dim);
  kv_norm_ = register_module("kv_norm", nn::RMSNorm(sizes.kv_lora_rank, sizes.norm_eps, options));
  wkv_b_ = linear("wkv_b", sizes.kv_lora_rank,
                  sizes.n_heads * (sizes.qk_nope_head_dim + sizes.v_head_dim));
  wo_ = linear("wo", sizes.n_heads * sizes.v_head_dim, sizes.dim);
  inner_attention_ = register_module("inner_attention", nn::InnerAttention(engine, scale));
}

at::Tensor AttentionImpl::queries(const at::Tensor& x, const at::Tensor& rope_table,
                                  const at::Tensor& positions) {
  const at::Tensor flat = wq_.is_empty() ? wq_b_(q_norm_(wq_a_(x))) : wq_(x);
  const auto parts = flat.unflatten(-1, {-1, sizes_.qk_head_dim()})
                         .split_with_sizes({sizes_.qk_nope_head_dim, sizes_.qk_rope_head_dim}, -1);
  return at::cat({parts[0], rope(parts[1], rope_table, positions)}, -1);
}

at::Tensor AttentionImpl::forward(const at::Tensor& input, const at::Tensor& rope_table,
                                  const at::Tensor& positions, const BlockMask& mask,
                                  nn::KeyValueCache* cache) {
  const at::Tensor x = entered(input);
  const at::Tensor q = queries(x, rope_table, positions);
  const auto compressed =
      wkv_a_(x).split_with_sizes({sizes_.kv_lora_rank, sizes_.qk_rope_head_dim}, -1);
  at::Tensor latent = kv_norm_(compressed[0]);
  at::Tensor k_rope = rope(compressed[1].unsqueeze(2), rope_table, positions);
  if (cache != nullptr) cache->extend(this, {&latent, &k_rope});
  const auto parts = wkv_b_(latent)
                         .unflatten(-1, {-1, sizes_.qk_nope_head_dim + sizes_.v_head_dim})
                         .split_with_sizes({sizes_.qk_nope_head_dim, sizes_.v_head_dim}, -1);
  const at::Tensor k = at::cat({parts[0], k_rope.expand({-1, -1, parts[0].size(2), -1})}, -1);
  return left(wo_(inner_attention_(q, k, parts[1], mask).flatten(-2)));
}

void AttentionImpl::init_weights(uint64_t seed, const std::string& prefix, double out_std) {
  const auto draw = [&](nn::Linear& linear, const std::string& name, double std) {
    nn::init_truncated_normal(linear->weight, seed, prefix + "." + name + ".weight", std);
  };
  if (wq_.is_empty()) {
    draw(wq_a_, "wq_a", 0.02);
    draw(wq_b_, "wq_b", 0.02);
    nn::init_ones(q_norm_->weight);
  } else {
    draw(wq_, "wq", 0.02);
  }
  draw(wkv_a_, "wkv_a", 0.02);
  draw(wkv_b_, "wkv_b", 0.02);
  draw(wo_, "wo", out_std);
  nn::init_ones(kv_norm_->weight);
}

}  // namespace coeus::deepseek_v3
