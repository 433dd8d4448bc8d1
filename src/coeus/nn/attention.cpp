#include "coeus/nn/attention.h"

#include <torch/types.h>

#include "coeus/base/error.h"
#include "coeus/nn/init.h"
#include "coeus/ops/rms_norm.h"
#include "coeus/ops/rope.h"

namespace coeus::nn {

namespace {

at::Tensor normed(const at::Tensor& x, double eps) {
  return rms_norm(x, at::ones({x.size(-1)}, x.options()), eps);
}

at::Tensor sharpened(const at::Tensor& q, const at::Tensor& positions,
                     const AttentionTemperature& temperature) {
  const at::Tensor floor = at::floor((positions.to(at::kFloat) + 1) / temperature.floor_scale);
  const at::Tensor factor = at::log1p(floor) * temperature.scale + 1;
  return (q * factor.unsqueeze(-1).unsqueeze(-1)).to(q.scalar_type());
}

}  // namespace

AttentionImpl::AttentionImpl(const AttentionSizes& sizes, AttentionEngine engine,
                             const at::TensorOptions& options)
    : head_dim_(sizes.head_dim),
      use_rope_(sizes.use_rope),
      qk_norm_eps_(sizes.qk_norm_eps),
      temperature_(sizes.temperature) {
  COEUS_CHECK(sizes.n_kv_heads > 0 && sizes.n_heads % sizes.n_kv_heads == 0,
              "[Attention] n_heads {} must be a multiple of n_kv_heads {}", sizes.n_heads,
              sizes.n_kv_heads);
  wq = register_module("wq", Linear(sizes.dim, sizes.n_heads * head_dim_, options));
  wk = register_module("wk", Linear(sizes.dim, sizes.n_kv_heads * head_dim_, options));
  wv = register_module("wv", Linear(sizes.dim, sizes.n_kv_heads * head_dim_, options));
  wo = register_module("wo", Linear(sizes.n_heads * head_dim_, sizes.dim, options));
  inner_attention_ = register_module("inner_attention", InnerAttention(engine));
}

at::Tensor AttentionImpl::forward(const at::Tensor& input, const at::Tensor& rope_table,
                                  const at::Tensor& positions, const BlockMask& mask,
                                  KeyValueCache* cache) {
  const at::Tensor x = entered(input);
  const auto heads = [&](Linear& projection) {
    return projection(x).unflatten(-1, {-1, head_dim_});
  };
  at::Tensor q = heads(wq);
  at::Tensor k = heads(wk);
  if (use_rope_) {
    q = rope(q, rope_table, positions);
    k = rope(k, rope_table, positions);
  }
  if (qk_norm_eps_) {
    q = normed(q, *qk_norm_eps_);
    k = normed(k, *qk_norm_eps_);
  }
  if (temperature_) q = sharpened(q, positions, *temperature_);
  at::Tensor v = heads(wv);
  if (cache != nullptr) cache->extend(this, {&k, &v});
  return left(wo(inner_attention_(q, k, v, mask).flatten(-2)));
}

void AttentionImpl::init_weights(uint64_t seed, const std::string& name, double out_std) {
  init_truncated_normal(wq->weight, seed, name + ".wq.weight", 0.02);
  init_truncated_normal(wk->weight, seed, name + ".wk.weight", 0.02);
  init_truncated_normal(wv->weight, seed, name + ".wv.weight", 0.02);
  init_truncated_normal(wo->weight, seed, name + ".wo.weight", out_std);
}

}  // namespace coeus::nn
