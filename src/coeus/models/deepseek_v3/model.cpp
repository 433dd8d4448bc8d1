#include "coeus/models/deepseek_v3/model.h"

#include <torch/nn/modules/container/modulelist.h>
#include <torch/types.h>

#include "coeus/base/ignored_label.h"
#include "coeus/models/deepseek_v3/masks.h"
#include "coeus/nn/rope.h"

namespace coeus::deepseek_v3 {

Transformer::Transformer(const Sizes& sizes, AttentionEngine engine,
                         const at::TensorOptions& options)
    : Decoder({.vocab_size = sizes.vocab_size,
               .dim = sizes.dim,
               .n_layers = sizes.n_layers,
               .norm_eps = sizes.final_norm_eps,
               .masks = {{kMaskName, sizes.mask}}},
              options,
              [&](int64_t layer_id) {
                return std::make_shared<TransformerBlock>(layer_id, sizes, engine, options);
              }),
      sizes_(sizes) {
  if (sizes.n_prediction_layers > 0) {
    whole_rows_ = register_module("whole_rows", nn::WholeRows());
    auto predictions = register_module("mtp_layers", std::make_shared<torch::nn::ModuleListImpl>());
    for (int64_t i = 0; i < sizes.n_prediction_layers; ++i) {
      prediction_layers_.push_back(
          std::make_shared<PredictionLayer>(sizes.n_layers - 1, sizes, engine, options));
      predictions->push_back(prediction_layers_.back());
    }
  }
  if (!options.device().is_meta()) {
    at::Tensor frequencies = nn::rope_frequencies(sizes.qk_rope_head_dim, sizes.rope_theta);
    if (sizes.is_stretched())
      frequencies = nn::yarn_frequencies(frequencies, sizes.rope_theta, *sizes.yarn);
    const at::Tensor table = nn::rope_table(frequencies, sizes.max_seq_len);
    set_rope_table(sizes.is_stretched() && sizes.rope_factor != 1 ? table * sizes.rope_factor
                                                                  : table);
  }
}

at::Tensor Transformer::loss_sum(const at::Tensor& tokens, const at::Tensor& labels,
                                 const at::Tensor& positions, const AttentionMasks& masks) {
  const nn::OrderedInputs inputs = ordered_inputs(positions, masks);
  at::Tensor h = run_blocks(embed(tokens), inputs);
  at::Tensor loss = loss_of(normed(h), labels);
  const auto depths = static_cast<int64_t>(prediction_layers_.size());
  if (depths == 0) return loss;
  // What follows a token in its row may be another rank's.
  const BlockMask& mask = masks.at(kMaskName);
  const auto whole = [&](const at::Tensor& x) { return whole_rows_->gathered(x, mask); };
  const at::Tensor row_tokens = whole(tokens), row_labels = whole(labels),
                   row_positions = whole(positions);
  for (int64_t depth = 1; depth <= depths; ++depth) {
    const auto [further, known] = shifted_left(row_tokens, row_positions, depth, 0);
    PredictionLayer& layer = *prediction_layers_[depth - 1];
    const at::Tensor kept =
        layer.known(whole_rows_->own(known, mask)).unsqueeze(-1).to(h.scalar_type());
    h = layer.run(at::cat({embed(whole_rows_->own(further, mask)), h * kept}, -1), inputs);
    const at::Tensor aims =
        whole_rows_->own(shifted_left(row_labels, row_positions, depth, kIgnoredLabel).first, mask);
    loss = loss + loss_of(h, aims) * (sizes_.prediction_loss_weight / static_cast<double>(depths));
  }
  return loss;
}

void Transformer::init_weights(uint64_t seed) {
  Decoder::init_weights(seed);
  for (size_t i = 0; i < prediction_layers_.size(); ++i)
    prediction_layers_[i]->init_weights(seed, "mtp_layers." + std::to_string(i));
}

std::string Transformer::pipeline_obstacle() const {
  if (prediction_layers_.empty()) return Decoder::pipeline_obstacle();
  return fmt::format(
      "its prediction layers (model.num_mtp_layers = {}) read the embedding and the last layer at "
      "once; use model.num_mtp_layers = 0",
      prediction_layers_.size());
}

std::vector<nn::Block*> Transformer::blocks() {
  std::vector<nn::Block*> blocks = Decoder::blocks();
  for (const auto& layer : prediction_layers_) blocks.push_back(layer.get());
  return blocks;
}

double Transformer::flops_per_token(int64_t seq_len) const {
  // Every further token predicted takes a layer's attention, and multiplies the output once more.
  const AttentionShape shape = attention_shape();
  const int64_t attention = shape.heads * (shape.key_dim + shape.value_dim) * seq_len;
  return Decoder::flops_per_token(seq_len) +
         6.0 * static_cast<double>(sizes_.n_prediction_layers *
                                   (attention + sizes_.dim * sizes_.vocab_size));
}

double Transformer::block_bytes_per_token(double size) const {
  const auto dim = static_cast<double>(sizes_.dim);
  const auto qk_dim = static_cast<double>(sizes_.n_heads * sizes_.attention().qk_head_dim());
  const auto v_dim = static_cast<double>(sizes_.n_heads * sizes_.v_head_dim);
  const auto rank = static_cast<double>(sizes_.q_lora_rank + sizes_.kv_lora_rank);
  const auto top_k = static_cast<double>(sizes_.moe.top_k);
  const auto shared = static_cast<double>(sizes_.moe.num_shared_experts);
  const auto expert = static_cast<double>(sizes_.moe_hidden_dim);
  // Latents before and after their norms, queries, keys, values and attention's output; then of
  // every expert its input, gate, up, product and output, of the shared ones all but the first and
  // last, and the router's logits and scores.
  const double attention = 2 * rank + 2 * qk_dim + 2 * v_dim;
  const double experts = top_k * (2 * dim + 3 * expert) + 3 * shared * expert;
  return size * (attention + experts) + 2 * 4 * static_cast<double>(sizes_.moe.num_experts);
}

}  // namespace coeus::deepseek_v3
