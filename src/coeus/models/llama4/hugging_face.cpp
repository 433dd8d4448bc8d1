#include "coeus/models/llama4/hugging_face.h"

namespace coeus::llama4 {

namespace {

ForeignNames names_of() {
  const auto transposed = ForeignLayout::kTransposed;
  const auto first = ForeignLayout::kTransposedFirstHalf;
  const auto second = ForeignLayout::kTransposedSecondHalf;
  // Rotary pairs are neighbours there too.
  return {
      .rules =
          {
              {"tok_embeddings.weight", "model.embed_tokens.weight"},
              {"layers.{}.attention.wq.weight", "model.layers.{}.self_attn.q_proj.weight"},
              {"layers.{}.attention.wk.weight", "model.layers.{}.self_attn.k_proj.weight"},
              {"layers.{}.attention.wv.weight", "model.layers.{}.self_attn.v_proj.weight"},
              {"layers.{}.attention.wo.weight", "model.layers.{}.self_attn.o_proj.weight"},
              {"layers.{}.feed_forward.w1.weight", "model.layers.{}.feed_forward.gate_proj.weight"},
              {"layers.{}.feed_forward.w2.weight", "model.layers.{}.feed_forward.down_proj.weight"},
              {"layers.{}.feed_forward.w3.weight", "model.layers.{}.feed_forward.up_proj.weight"},
              {"layers.{}.moe.router.gate.weight", "model.layers.{}.feed_forward.router.weight"},
              {"layers.{}.moe.experts.w1", "model.layers.{}.feed_forward.experts.gate_up_proj",
               first},
              {"layers.{}.moe.experts.w3", "model.layers.{}.feed_forward.experts.gate_up_proj",
               second},
              {"layers.{}.moe.experts.w2", "model.layers.{}.feed_forward.experts.down_proj",
               transposed},
              {"layers.{}.moe.shared_experts.w1.weight",
               "model.layers.{}.feed_forward.shared_expert.gate_proj.weight"},
              {"layers.{}.moe.shared_experts.w2.weight",
               "model.layers.{}.feed_forward.shared_expert.down_proj.weight"},
              {"layers.{}.moe.shared_experts.w3.weight",
               "model.layers.{}.feed_forward.shared_expert.up_proj.weight"},
              {"layers.{}.moe.expert_bias", ""},
              {"layers.{}.attention_norm.weight", "model.layers.{}.input_layernorm.weight"},
              {"layers.{}.ffn_norm.weight", "model.layers.{}.post_attention_layernorm.weight"},
              {"norm.weight", "model.norm.weight"},
              {"output.weight", "lm_head.weight"},
          },
      .ignored = {"vision_model.*", "multi_modal_projector.*"},
      .output = "lm_head.weight",
      .embedding = "model.embed_tokens.weight",
  };
}

/// The n of chunk(n) in the mask of layers with rotary positions.
std::optional<int64_t> chunk_of(const Sizes& sizes) {
  const auto mask = sizes.masks.find(kRopeMaskName);
  if (mask == sizes.masks.end()) return std::nullopt;
  const std::string text = mask->second.to_string();
  const size_t at = text.find("chunk(");
  if (at == std::string::npos) return std::nullopt;
  return std::stoll(text.substr(at + 6));
}

}  // namespace

HuggingFaceFormat hugging_face_format(const Sizes& sizes) {
  const std::optional<int64_t> chunk = chunk_of(sizes);
  nlohmann::json has_rope = nlohmann::json::array();
  nlohmann::json moe_layers = nlohmann::json::array();
  nlohmann::json layer_types = nlohmann::json::array();
  for (int64_t i = 0; i < sizes.n_layers; ++i) {
    has_rope.push_back(sizes.is_nope(i) ? 0 : 1);
    layer_types.push_back(chunk && !sizes.is_nope(i) ? "chunked_attention" : "full_attention");
    if (sizes.is_moe(i)) moe_layers.push_back(i);
  }
  nlohmann::json scaling = nullptr;
  if (sizes.rope_scaling)
    scaling = {{"rope_type", "llama3"},
               {"factor", sizes.rope_scaling->factor},
               {"low_freq_factor", sizes.rope_scaling->low_freq_factor},
               {"high_freq_factor", sizes.rope_scaling->high_freq_factor},
               {"original_max_position_embeddings", sizes.rope_scaling->original_max_position}};
  return {names_of(),
          {{"architectures", {"Llama4ForCausalLM"}},
           {"model_type", "llama4_text"},
           {"hidden_size", sizes.dim},
           {"intermediate_size", sizes.expert_hidden_dim()},
           {"intermediate_size_mlp", sizes.hidden_dim()},
           {"num_hidden_layers", sizes.n_layers},
           {"num_attention_heads", sizes.n_heads},
           {"num_key_value_heads", sizes.n_kv_heads},
           {"head_dim", sizes.head_dim()},
           {"vocab_size", sizes.vocab_size},
           {"rms_norm_eps", sizes.norm_eps},
           {"rope_theta", sizes.rope_theta},
           {"rope_scaling", scaling},
           {"max_position_embeddings", sizes.max_seq_len},
           {"num_local_experts", sizes.moe.num_experts},
           {"num_experts_per_tok", sizes.moe.top_k},
           {"interleave_moe_layer_step", sizes.interleave_moe_layer_step},
           {"moe_layers", moe_layers},
           // 1 stands for a layer with rotary positions.
           {"no_rope_layers", has_rope},
           {"layer_types", layer_types},
           {"attention_chunk_size", chunk ? nlohmann::json(*chunk) : nlohmann::json(nullptr)},
           {"use_qk_norm", false},
           {"attn_temperature_tuning", false},
           {"hidden_act", "silu"},
           {"attention_bias", false},
           {"tie_word_embeddings", false},
           {"bos_token_id", nullptr},
           {"eos_token_id", nullptr}}};
}

}  // namespace coeus::llama4
