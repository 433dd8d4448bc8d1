#include "coeus/models/qwen3/hugging_face.h"

#include "coeus/checkpoint/hugging_face_config.h"

namespace coeus::qwen3 {

namespace {

ForeignNames names_of(const Sizes&) {
  const auto experts = ForeignLayout::kOnePerExpert;
  return {
      .rules =
          {
              {"tok_embeddings.weight", "model.embed_tokens.weight"},
              {"layers.{}.attention.wq.weight", "model.layers.{}.self_attn.q_proj.weight"},
              {"layers.{}.attention.wk.weight", "model.layers.{}.self_attn.k_proj.weight"},
              {"layers.{}.attention.wv.weight", "model.layers.{}.self_attn.v_proj.weight"},
              {"layers.{}.attention.wo.weight", "model.layers.{}.self_attn.o_proj.weight"},
              {"layers.{}.attention.q_norm.weight", "model.layers.{}.self_attn.q_norm.weight"},
              {"layers.{}.attention.k_norm.weight", "model.layers.{}.self_attn.k_norm.weight"},
              {"layers.{}.feed_forward.w1.weight", "model.layers.{}.mlp.gate_proj.weight"},
              {"layers.{}.feed_forward.w2.weight", "model.layers.{}.mlp.down_proj.weight"},
              {"layers.{}.feed_forward.w3.weight", "model.layers.{}.mlp.up_proj.weight"},
              {"layers.{}.moe.router.gate.weight", "model.layers.{}.mlp.gate.weight"},
              {"layers.{}.moe.experts.w1", "model.layers.{}.mlp.experts.{}.gate_proj.weight",
               experts},
              {"layers.{}.moe.experts.w2", "model.layers.{}.mlp.experts.{}.down_proj.weight",
               experts},
              {"layers.{}.moe.experts.w3", "model.layers.{}.mlp.experts.{}.up_proj.weight",
               experts},
              {"layers.{}.moe.expert_bias", ""},
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

nn::MoEOptions experts_of(const nlohmann::json& config) {
  return {.num_experts = hugging_face_value<int64_t>(config, "num_experts"),
          .num_shared_experts = 0,
          .score_func = nn::ScoreFunction::kSoftmax,
          .top_k = hugging_face_value<int64_t>(config, "num_experts_per_tok"),
          .route_norm = hugging_face_value<bool>(config, "norm_topk_prob", false),
          .score_before_experts = false,
          .load_balance_coeff = std::nullopt};
}

}  // namespace

Sizes sizes_from_hugging_face(const nlohmann::json& config) {
  expect_hugging_face_value(config, "model_type", {"qwen3", "qwen3_moe"});
  expect_hugging_face_value(config, "hidden_act", {"silu"});
  expect_hugging_face_value(config, "attention_bias", {false});
  expect_hugging_face_value(config, "attention_dropout", {0});
  expect_hugging_face_value(config, "partial_rotary_factor", {1});
  expect_hugging_face_value(config, "use_sliding_window", {false});
  if (config.contains("rope_scaling") && !config["rope_scaling"].is_null())
    expect_hugging_face_value(config["rope_scaling"],
                              config["rope_scaling"].contains("rope_type") ? "rope_type" : "type",
                              {"default"});
  Sizes sizes;
  sizes.dim = hugging_face_value<int64_t>(config, "hidden_size");
  sizes.n_layers = hugging_face_value<int64_t>(config, "num_hidden_layers");
  sizes.n_heads = hugging_face_value<int64_t>(config, "num_attention_heads");
  sizes.n_kv_heads = hugging_face_value<int64_t>(config, "num_key_value_heads", sizes.n_heads);
  sizes.head_dim = hugging_face_value<int64_t>(config, "head_dim", 128);
  sizes.vocab_size = hugging_face_value<int64_t>(config, "vocab_size");
  sizes.hidden_dim = hugging_face_value<int64_t>(config, "intermediate_size");
  sizes.norm_eps = hugging_face_value<double>(config, "rms_norm_eps", 1e-6);
  sizes.rope_theta = hugging_face_value<double>(config, "rope_theta", 10000.0);
  sizes.max_seq_len = hugging_face_value<int64_t>(config, "max_position_embeddings", 32768);
  sizes.enable_weight_tying = hugging_face_value<bool>(config, "tie_word_embeddings", false);
  if (hugging_face_value<std::string>(config, "model_type", "qwen3") == "qwen3_moe") {
    sizes.moe = experts_of(config);
    sizes.moe_hidden_dim = hugging_face_value<int64_t>(config, "moe_intermediate_size");
    sizes.moe_layer_step = hugging_face_value<int64_t>(config, "decoder_sparse_step", 1);
    sizes.dense_layers =
        hugging_face_value<std::vector<int64_t>>(config, "mlp_only_layers", std::vector<int64_t>());
    COEUS_CHECK_CONFIG(sizes.moe_layer_step > 0, "config.json: decoder_sparse_step is {}",
                       sizes.moe_layer_step);
  }
  for (const auto& type : hugging_face_value<std::vector<std::string>>(config, "layer_types",
                                                                       std::vector<std::string>()))
    COEUS_CHECK_CONFIG(type == "full_attention",
                       "config.json: layer_types has {}; coeus builds this model only with "
                       "full_attention",
                       type);
  return sizes;
}

HuggingFaceFormat hugging_face_format(const Sizes& sizes) {
  HuggingFaceFormat format = {
      names_of(sizes),
      {{"architectures", {sizes.moe ? "Qwen3MoeForCausalLM" : "Qwen3ForCausalLM"}},
       {"model_type", sizes.moe ? "qwen3_moe" : "qwen3"},
       {"hidden_size", sizes.dim},
       {"intermediate_size", sizes.hidden_dim},
       {"num_hidden_layers", sizes.n_layers},
       {"num_attention_heads", sizes.n_heads},
       {"num_key_value_heads", sizes.n_kv_heads},
       {"head_dim", sizes.head_dim},
       {"vocab_size", sizes.vocab_size},
       {"rms_norm_eps", sizes.norm_eps},
       {"rope_theta", sizes.rope_theta},
       {"rope_scaling", nullptr},
       {"max_position_embeddings", sizes.max_seq_len},
       {"hidden_act", "silu"},
       {"attention_bias", false},
       {"use_sliding_window", false},
       {"tie_word_embeddings", sizes.enable_weight_tying},
       {"bos_token_id", nullptr},
       {"eos_token_id", nullptr}}};
  if (sizes.moe)
    format.config.update({{"num_experts", sizes.moe->num_experts},
                          {"num_experts_per_tok", sizes.moe->top_k},
                          {"norm_topk_prob", sizes.moe->route_norm},
                          {"moe_intermediate_size", sizes.moe_hidden_dim},
                          {"decoder_sparse_step", sizes.moe_layer_step},
                          {"mlp_only_layers", sizes.dense_layers}});
  return format;
}

}  // namespace coeus::qwen3
