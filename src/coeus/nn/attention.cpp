#include "coeus/nn/attention.h"

#include <torch/torch.h>

#include "coeus/base/error.h"
#include "coeus/ops/rope.h"

namespace coeus::nn {

AttentionImpl::AttentionImpl(const AttentionSizes& sizes, AttentionEngine engine,
                             const at::TensorOptions& options)
    : head_dim_(sizes.head_dim), engine_(engine) {
  COEUS_CHECK(sizes.n_kv_heads > 0 && sizes.n_heads % sizes.n_kv_heads == 0,
              "[Attention] n_heads {} must be a multiple of n_kv_heads {}", sizes.n_heads,
              sizes.n_kv_heads);
  wq = register_module("wq", Linear(sizes.dim, sizes.n_heads * head_dim_, options));
  wk = register_module("wk", Linear(sizes.dim, sizes.n_kv_heads * head_dim_, options));
  wv = register_module("wv", Linear(sizes.dim, sizes.n_kv_heads * head_dim_, options));
  wo = register_module("wo", Linear(sizes.n_heads * head_dim_, sizes.dim, options));
}

at::Tensor AttentionImpl::forward(const at::Tensor& x, const at::Tensor& rope_table,
                                  const at::Tensor& positions, const BlockMask& mask) {
  const auto heads = [&](Linear& projection) {
    return projection(x).unflatten(-1, {-1, head_dim_});
  };
  const at::Tensor q = rope(heads(wq), rope_table, positions);
  const at::Tensor k = rope(heads(wk), rope_table, positions);
  const at::Tensor v = heads(wv);
  return wo(coeus::attention(q, k, v, mask, {.engine = engine_}).flatten(-2));
}

}  // namespace coeus::nn
