#include "coeus/models/deepseek_v3/hugging_face.h"

namespace coeus::deepseek_v3 {

namespace {

const std::vector<NameRule>& layer_rules() {
  constexpr auto kExperts = ForeignLayout::kOnePerExpert;
  static const std::vector<NameRule> rules = {
      {"layers.{}.attention.wq.weight", "model.layers.{}.self_attn.q_proj.weight"},
      {"layers.{}.attention.wq_a.weight", "model.layers.{}.self_attn.q_a_proj.weight"},
      {"layers.{}.attention.q_norm.weight", "model.layers.{}.self_attn.q_a_layernorm.weight"},
      {"layers.{}.attention.wq_b.weight", "model.layers.{}.self_attn.q_b_proj.weight"},
      {"layers.{}.attention.wkv_a.weight", "model.layers.{}.self_attn.kv_a_proj_with_mqa.weight"},
      {"layers.{}.attention.kv_norm.weight", "model.layers.{}.self_attn.kv_a_layernorm.weight"},
      {"layers.{}.attention.wkv_b.weight", "model.layers.{}.self_attn.kv_b_proj.weight"},
      {"layers.{}.attention.wo.weight", "model.layers.{}.self_attn.o_proj.weight"},
      {"layers.{}.feed_forward.w1.weight", "model.layers.{}.mlp.gate_proj.weight"},
      {"layers.{}.feed_forward.w2.weight", "model.layers.{}.mlp.down_proj.weight"},
      {"layers.{}.feed_forward.w3.weight", "model.layers.{}.mlp.up_proj.weight"},
      {"layers.{}.moe.router.gate.weight", "model.layers.{}.mlp.gate.weight"},
      {"layers.{}.moe.expert_bias", "model.layers.{}.mlp.gate.e_score_correction_bias"},
      {"layers.{}.moe.experts.w1", "model.layers.{}.mlp.experts.{}.gate_proj.weight", kExperts},
      {"layers.{}.moe.experts.w2", "model.layers.{}.mlp.experts.{}.down_proj.weight", kExperts},
      {"layers.{}.moe.experts.w3", "model.layers.{}.mlp.experts.{}.up_proj.weight", kExperts},
      {"layers.{}.moe.shared_experts.w1.weight",
       "model.layers.{}.mlp.shared_experts.gate_proj.weight"},
      {"layers.{}.moe.shared_experts.w2.weight",
       "model.layers.{}.mlp.shared_experts.down_proj.weight"},
      {"layers.{}.moe.shared_experts.w3.weight",
       "model.layers.{}.mlp.shared_experts.up_proj.weight"},
      {"layers.{}.attention_norm.weight", "model.layers.{}.input_layernorm.weight"},
      {"layers.{}.ffn_norm.weight", "model.layers.{}.post_attention_layernorm.weight"},
  };
  return rules;
}

ForeignNames names_of(const Sizes& sizes) {
  ForeignNames names = {
      .rules =
          {
              {"tok_embeddings.weight", "model.embed_tokens.weight"},
              {"norm.weight", "model.norm.weight"},
              {"output.weight", "lm_head.weight"},
              {"mtp_layers.{}.enorm.weight", "model.layers.{}.enorm.weight"},
              {"mtp_layers.{}.hnorm.weight", "model.layers.{}.hnorm.weight"},
              {"mtp_layers.{}.eh_proj.weight", "model.layers.{}.eh_proj.weight"},
              {"mtp_layers.{}.mtp_norm.weight", "model.layers.{}.shared_head.norm.weight"},
          },
      .ignored = {"model.layers.{}.self_attn.rotary_emb.inv_freq"},
      .output = "lm_head.weight",
      .embedding = "model.embed_tokens.weight",
  };
  for (NameRule rule : layer_rules()) {
    names.rules.push_back(rule);
    rule.native = "mtp_" + rule.native;
    names.rules.push_back(rule);
  }
  for (NameRule& rule : names.rules)
    if (rule.native.starts_with("mtp_")) rule.layer_offset = sizes.n_layers;
  // Each prediction layer is published with the embedding and output that it shares.
  for (int64_t i = 0; i < sizes.n_prediction_layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(sizes.n_layers + i);
    const auto repeat = [&](const std::string& native, const std::string& foreign) {
      names.rules.push_back({.native = native, .foreign = layer + foreign, .is_copy = true});
    };
    repeat("tok_embeddings.weight", ".embed_tokens.weight");
    repeat("output.weight", ".shared_head.head.weight");
  }
  if (sizes.n_prediction_layers == 0)
    names.ignored.push_back("model.layers." + std::to_string(sizes.n_layers) + ".*");
  return names;
}

nlohmann::json scaling_of(const Sizes& sizes) {
  if (!sizes.yarn) return nullptr;
  return {{"type", "yarn"},
          {"factor", sizes.yarn->factor},
          {"beta_fast", sizes.yarn->beta_fast},
          {"beta_slow", sizes.yarn->beta_slow},
          {"mscale", sizes.mscale},
          {"mscale_all_dim", sizes.mscale},
          {"original_max_position_embeddings", sizes.yarn->original_max_position}};
}

}  // namespace

HuggingFaceFormat hugging_face_format(const Sizes& sizes) {
  const nn::MoEOptions& moe = sizes.moe;
  const bool is_v3 = moe.score_func == nn::ScoreFunction::kSigmoid;
  const bool in_groups = moe.n_expert_groups > 1;
  return {names_of(sizes),
          {{"architectures", {is_v3 ? "DeepseekV3ForCausalLM" : "DeepseekV2ForCausalLM"}},
           {"model_type", is_v3 ? "deepseek_v3" : "deepseek_v2"},
           {"hidden_size", sizes.dim},
           {"intermediate_size", sizes.hidden_dim},
           {"moe_intermediate_size", sizes.moe_hidden_dim},
           {"num_hidden_layers", sizes.n_layers},
           {"first_k_dense_replace", sizes.n_dense_layers},
           {"moe_layer_freq", 1},
           {"num_attention_heads", sizes.n_heads},
           {"num_key_value_heads", sizes.n_heads},
           {"q_lora_rank",
            sizes.q_lora_rank > 0 ? nlohmann::json(sizes.q_lora_rank) : nlohmann::json(nullptr)},
           {"kv_lora_rank", sizes.kv_lora_rank},
           {"qk_nope_head_dim", sizes.qk_nope_head_dim},
           {"qk_rope_head_dim", sizes.qk_rope_head_dim},
           {"v_head_dim", sizes.v_head_dim},
           {"n_routed_experts", moe.num_experts},
           {"n_shared_experts", moe.num_shared_experts},
           {"num_experts_per_tok", moe.top_k},
           {"n_group", moe.n_expert_groups},
           {"topk_group", moe.n_limited_groups},
           {"norm_topk_prob", moe.route_norm},
           {"routed_scaling_factor", moe.route_scale},
           {"scoring_func", is_v3 ? "sigmoid" : "softmax"},
           {"topk_method", is_v3       ? "noaux_tc"
                           : in_groups ? "group_limited_greedy"
                                       : "greedy"},
           {"num_nextn_predict_layers", sizes.n_prediction_layers},
           {"vocab_size", sizes.vocab_size},
           {"rms_norm_eps", sizes.norm_eps},
           {"rope_theta", sizes.rope_theta},
           {"rope_scaling", scaling_of(sizes)},
           {"rope_interleave", true},
           {"max_position_embeddings", sizes.max_seq_len},
           {"hidden_act", "silu"},
           {"attention_bias", false},
           {"tie_word_embeddings", false},
           {"bos_token_id", nullptr},
           {"eos_token_id", nullptr}}};
}

}  // namespace coeus::deepseek_v3
