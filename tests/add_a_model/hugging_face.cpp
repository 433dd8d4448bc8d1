#include "add_a_model/hugging_face.h"

namespace coeus::palm {

HuggingFaceFormat hugging_face_format(const Sizes& sizes) {
  const auto halves = ForeignLayout::kRotaryHalves;
  const ForeignNames names = {
      .rules =
          {
              {"tok_embeddings.weight", "model.embed_tokens.weight"},
              {"layers.{}.attention.wq.weight", "model.layers.{}.self_attn.q_proj.weight", halves,
               sizes.n_heads},
              {"layers.{}.attention.wk.weight", "model.layers.{}.self_attn.k_proj.weight", halves,
               sizes.n_kv_heads},
              {"layers.{}.attention.wv.weight", "model.layers.{}.self_attn.v_proj.weight"},
              {"layers.{}.attention.wo.weight", "model.layers.{}.self_attn.o_proj.weight"},
              {"layers.{}.feed_forward.w1.weight", "model.layers.{}.mlp.gate_proj.weight"},
              {"layers.{}.feed_forward.w2.weight", "model.layers.{}.mlp.down_proj.weight"},
              {"layers.{}.feed_forward.w3.weight", "model.layers.{}.mlp.up_proj.weight"},
              {"layers.{}.norm.weight", "model.layers.{}.input_layernorm.weight"},
              {"norm.weight", "model.norm.weight"},
          },
      .output = "lm_head.weight",
      .embedding = "model.embed_tokens.weight",
  };
  return {names,
          {{"model_type", "palm"},
           {"hidden_size", sizes.dim},
           {"intermediate_size", sizes.hidden_dim},
           {"num_hidden_layers", sizes.n_layers},
           {"num_attention_heads", sizes.n_heads},
           {"num_key_value_heads", sizes.n_kv_heads},
           {"head_dim", sizes.head_dim},
           {"vocab_size", sizes.vocab_size},
           {"rms_norm_eps", sizes.norm_eps},
           {"rope_theta", sizes.rope_theta},
           {"tie_word_embeddings", true}}};
}

}  // namespace coeus::palm
