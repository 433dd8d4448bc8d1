// Predicting further tokens than the next one, as a training aim (DeepSeek-V3, arXiv 2412.19437,
// 2.2): a layer a depth, each from the depth before.
#pragma once

#include <utility>

#include "coeus/models/deepseek_v3/block.h"

namespace coeus::deepseek_v3 {

/// `sequence` [batch, seq], with at each place i the value of place i + shift, and which places
/// have one (bool): those whose position is followed by `shift` more of the same run, so that
/// nothing crosses documents whose positions restart. The others get `fill`. Positions: int32
/// [batch, seq].
std::pair<at::Tensor, at::Tensor> shifted_left(const at::Tensor& sequence,
                                               const at::Tensor& positions, int64_t shift,
                                               int64_t fill);

/// What is known of each of a layer's tokens [batch, seq], as it is: a place for hooks, where a
/// layer has other tokens than the row.
class OfTokensImpl : public nn::Layer {
 public:
  at::Tensor forward(const at::Tensor& of_tokens) { return left(entered(of_tokens)); }
};
TORCH_MODULE(OfTokens);

/// One depth: the embedding of a further token, normed, and the depth before's hidden state,
/// normed, projected together to the model's width; then a transformer block and a norm.
class PredictionLayer : public TransformerBlock {
 public:
  /// `layer_id` decides, as of a TransformerBlock, what it is made of and its initial weights.
  PredictionLayer(int64_t layer_id, const Sizes& sizes, AttentionEngine engine,
                  const at::TensorOptions& options);
  /// h: [batch, seq, 2 * dim], the embedding and the hidden state. Returns [batch, seq, dim].
  at::Tensor forward(const at::Tensor& h, const nn::OrderedInputs& inputs) override;
  void init_weights(uint64_t seed, const std::string& prefix) override;

  /// Which tokens have a further one (bool), on its way to this layer's input.
  OfTokens known{nullptr};

 private:
  nn::RMSNorm enorm_{nullptr};
  nn::RMSNorm hnorm_{nullptr};
  nn::Linear eh_proj_{nullptr};
  nn::RMSNorm mtp_norm_{nullptr};
};

}  // namespace coeus::deepseek_v3
