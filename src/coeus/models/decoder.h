// What all language models here are: token embedding, blocks, norm, output.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "coeus/mask/mask.h"
#include "coeus/models/model.h"
#include "coeus/nn/embedding.h"
#include "coeus/nn/linear.h"
#include "coeus/nn/rms_norm.h"

namespace coeus {

/// What a decoder's own layers need to know of a model's sizes.
struct DecoderSizes {
  int64_t vocab_size = 0;
  int64_t dim = 0;
  int64_t n_layers = 0;
  double norm_eps = 1e-5;    ///< of the last norm
  bool tied_output = false;  ///< logits are products with the embedding's own weight
  /// The masks that the blocks take, by the names they take them by.
  std::map<std::string, Mask> masks;
};

/// A decoder-only transformer, as a model's folder makes it of blocks of its own. Parameters are
/// named as TorchTitan names them: tok_embeddings, layers.N, norm, output.
class Decoder : public Model {
 public:
  at::Tensor hidden_states(const at::Tensor& tokens, const at::Tensor& positions,
                           const AttentionMasks& masks, const ImageTensors& images) override;
  at::Tensor output(const at::Tensor& normed) override;
  at::Tensor loss_by_chunks(const at::Tensor& normed, const at::Tensor& labels, int64_t chunk_size,
                            const CrossEntropy& cross_entropy) override;
  at::Tensor forward_cached(const at::Tensor& tokens, const at::Tensor& positions,
                            const AttentionMasks& masks, nn::KeyValueCache& cache) override;
  /// "tok_embeddings", "layers.0", …, "norm", "output".
  std::vector<std::string> pipeline_modules() const override;
  void keep_modules(const std::vector<std::string>& names) override;
  at::Tensor forward_part(const at::Tensor& input, const at::Tensor& positions,
                          const AttentionMasks& masks) override;
  std::string pipeline_obstacle() const override;
  int64_t hidden_size() const override { return sizes_.dim; }
  AttentionMasks get_attention_masks(std::span<const SequenceLayout> rows) const override;
  /// All layers under a model's only mask; a model with several says which layers take which.
  std::map<std::string, int64_t> layers_by_mask() const override;
  std::vector<OrderSensitiveBuffer> get_order_sensitive_buffers(int64_t batch_size,
                                                                int64_t seq_len) const override;
  void move_buffers(const at::Device& device) override;
  void init_weights(uint64_t seed) override;
  std::vector<nn::Block*> blocks() override;
  int64_t vocab_size() const override { return sizes_.vocab_size; }
  double flops_per_token(int64_t seq_len) const override;
  ActivationBytes activation_bytes_per_token(int64_t element_size) const override;

  /// The three parts of hidden_states, for models that look at what passes between them. tokens:
  /// int64 [batch, seq]; the others [batch, seq, dim]. `run_blocks` throws Error when `inputs` lack
  /// a mask that the blocks take, the others for a part of a model without these modules.
  at::Tensor embed(const at::Tensor& tokens);
  at::Tensor run_blocks(at::Tensor h, const nn::OrderedInputs& inputs);
  at::Tensor normed(const at::Tensor& h);

  /// What blocks need to know of the order of tokens beside the masks.
  nn::OrderedInputs ordered_inputs(const at::Tensor& positions, const AttentionMasks& masks,
                                   nn::KeyValueCache* cache = nullptr) const {
    return {positions, rope_table_, &masks, cache};
  }

 protected:
  /// `make_block` is called for layer 0, 1, … n_layers - 1.
  Decoder(DecoderSizes sizes, const at::TensorOptions& options,
          const std::function<std::shared_ptr<nn::Block>(int64_t layer_id)>& make_block);

  /// What OrderedInputs hand to the blocks: a model without weights (on the meta device) needs
  /// none.
  void set_rope_table(const at::Tensor& table);

  /// Bytes that a block keeps for backward beside the residual stream and its norms.
  virtual double block_bytes_per_token(double element_size) const = 0;

 private:
  DecoderSizes sizes_;
  at::Tensor rope_table_;
  // Null in a part of a model that lacks them.
  nn::Embedding tok_embeddings_{nullptr};
  std::shared_ptr<torch::nn::Module> layer_names_;        ///< "layers", which registers them
  std::map<int64_t, std::shared_ptr<nn::Block>> layers_;  ///< by their number in the whole model
  nn::RMSNorm norm_{nullptr};
  nn::Linear output_{nullptr};           ///< null with tied weights too
  nn::TiedLinear tied_output_{nullptr};  ///< null without
};

}  // namespace coeus
