#include "coeus/models/deepseek_v3/multi_token_prediction.h"

#include <torch/types.h>

#include "coeus/base/error.h"
#include "coeus/nn/init.h"

namespace coeus::deepseek_v3 {

std::pair<at::Tensor, at::Tensor> shifted_left(const at::Tensor& sequence,
                                               const at::Tensor& positions, int64_t shift,
                                               int64_t fill) {
  const int64_t length = sequence.size(1);
  COEUS_CHECK(shift > 0, "[shifted_left] shift must be positive, got {}", shift);
  at::Tensor known = at::zeros_like(sequence, at::TensorOptions().dtype(at::kBool));
  at::Tensor shifted = at::full_like(sequence, fill);
  if (shift >= length) return {shifted, known};
  const at::Tensor follows =
      positions.slice(1, shift) == positions.slice(1, 0, length - shift) + shift;
  known.slice(1, 0, length - shift).copy_(follows);
  shifted.slice(1, 0, length - shift)
      .copy_(at::where(follows, sequence.slice(1, shift),
                       at::scalar_tensor(fill, sequence.options())));
  return {shifted, known};
}

PredictionLayer::PredictionLayer(int64_t layer_id, const Sizes& sizes, AttentionEngine engine,
                                 const at::TensorOptions& options)
    : TransformerBlock(layer_id, sizes, engine, options) {
  const auto norm = [&](const char* name) {
    return register_module(name, nn::RMSNorm(sizes.dim, sizes.norm_eps, options));
  };
  enorm_ = norm("enorm");
  hnorm_ = norm("hnorm");
  eh_proj_ = register_module("eh_proj", nn::Linear(2 * sizes.dim, sizes.dim, options));
  mtp_norm_ = norm("mtp_norm");
  known = register_module("known", OfTokens());
}

at::Tensor PredictionLayer::forward(const at::Tensor& joined, const nn::OrderedInputs& inputs) {
  const auto halves = joined.chunk(2, -1);
  const at::Tensor h = eh_proj_(at::cat({enorm_(halves[0]), hnorm_(halves[1])}, -1));
  return mtp_norm_(TransformerBlock::forward(h, inputs));
}

void PredictionLayer::init_weights(uint64_t seed, const std::string& prefix) {
  TransformerBlock::init_weights(seed, prefix);
  for (nn::RMSNorm* norm : {&enorm_, &hnorm_, &mtp_norm_}) nn::init_ones((*norm)->weight);
  nn::init_truncated_normal(eh_proj_->weight, seed, prefix + ".eh_proj.weight", 0.02);
}

}  // namespace coeus::deepseek_v3
