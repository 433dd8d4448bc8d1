#include "coeus/models/llama3/hugging_face.h"

#include "coeus/checkpoint/hugging_face_config.h"
#include "coeus/models/hugging_face_rope.h"

namespace coeus::llama3 {

namespace {

ForeignNames names_of(const Sizes& sizes) {
  const auto halves = ForeignLayout::kRotaryHalves;
  return {
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
              {"layers.{}.attention_norm.weight", "model.layers.{}.input_layernorm.weight"},
              {"layers.{}.ffn_norm.weight", "model.layers.{}.post_attention_layernorm.weight"},
              {"norm.weight", "model.norm.weight"},
              {"output.weight", "lm_head.weight"},
          },
      .ignored = {"model.layers.{}.self_attn.rotary_emb.inv_freq"},
      .output = "lm_head.weight",
      .embedding = "model.embed_tokens.weight",
  };
}

}  // namespace

Sizes sizes_from_hugging_face(const nlohmann::json& config) {
  expect_hugging_face_value(config, "model_type", {"llama"});
  expect_hugging_face_value(config, "hidden_act", {"silu"});
  expect_hugging_face_value(config, "attention_bias", {false});
  expect_hugging_face_value(config, "attention_dropout", {0});
  expect_hugging_face_value(config, "mlp_bias", {false});
  expect_hugging_face_value(config, "partial_rotary_factor", {1});
  Sizes sizes;
  sizes.dim = hugging_face_value<int64_t>(config, "hidden_size");
  sizes.n_layers = hugging_face_value<int64_t>(config, "num_hidden_layers");
  sizes.n_heads = hugging_face_value<int64_t>(config, "num_attention_heads");
  sizes.n_kv_heads = hugging_face_value<int64_t>(config, "num_key_value_heads", sizes.n_heads);
  COEUS_CHECK_CONFIG(sizes.n_heads > 0 && sizes.dim % sizes.n_heads == 0,
                     "config.json: num_attention_heads is {}, which does not divide hidden_size {}",
                     sizes.n_heads, sizes.dim);
  expect_hugging_face_value(config, "head_dim", {sizes.head_dim()});
  sizes.vocab_size = hugging_face_value<int64_t>(config, "vocab_size");
  sizes.norm_eps = hugging_face_value<double>(config, "rms_norm_eps", 1e-6);
  sizes.rope_theta = hugging_face_value<double>(config, "rope_theta", 10000.0);
  sizes.rope_scaling = rope_scaling_from_hugging_face(config);
  sizes.max_seq_len = hugging_face_value<int64_t>(config, "max_position_embeddings", 2048);
  // hidden_dim() rounds up to a multiple: of next to nothing that is the multiple itself.
  sizes.multiple_of = hugging_face_value<int64_t>(config, "intermediate_size");
  sizes.ffn_dim_multiplier = 1.5 / (8.0 / 3.0 * static_cast<double>(sizes.dim));
  COEUS_CHECK_CONFIG(sizes.multiple_of > 0 && sizes.hidden_dim() == sizes.multiple_of,
                     "config.json: intermediate_size is {}", sizes.multiple_of);
  sizes.enable_weight_tying = hugging_face_value<bool>(config, "tie_word_embeddings", false);
  return sizes;
}

HuggingFaceFormat hugging_face_format(const Sizes& sizes) {
  return {names_of(sizes),
          {{"architectures", {"LlamaForCausalLM"}},
           {"model_type", "llama"},
           {"hidden_size", sizes.dim},
           {"intermediate_size", sizes.hidden_dim()},
           {"num_hidden_layers", sizes.n_layers},
           {"num_attention_heads", sizes.n_heads},
           {"num_key_value_heads", sizes.n_kv_heads},
           {"head_dim", sizes.head_dim()},
           {"vocab_size", sizes.vocab_size},
           {"rms_norm_eps", sizes.norm_eps},
           {"rope_theta", sizes.rope_theta},
           {"rope_scaling", rope_scaling_to_hugging_face(sizes.rope_scaling)},
           {"max_position_embeddings", sizes.max_seq_len},
           {"hidden_act", "silu"},
           {"attention_bias", false},
           {"mlp_bias", false},
           {"tie_word_embeddings", sizes.enable_weight_tying},
           {"bos_token_id", nullptr},
           {"eos_token_id", nullptr}}};
}

}  // namespace coeus::llama3
