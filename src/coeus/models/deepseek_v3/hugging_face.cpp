#include "coeus/models/deepseek_v3/hugging_face.h"

#include "coeus/checkpoint/hugging_face_config.h"
#include "coeus/models/deepseek_v3/masks.h"

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
  nlohmann::json scaling = {
      {"type", "yarn"},
      {"factor", sizes.yarn->factor},
      {"beta_fast", sizes.yarn->beta_fast},
      {"beta_slow", sizes.yarn->beta_slow},
      {"mscale_all_dim", sizes.mscale},
      {"original_max_position_embeddings", sizes.yarn->original_max_position}};
  // Equal ones cancel out in the table's factor.
  if (sizes.rope_factor == 1)
    scaling["mscale"] = sizes.mscale;
  else
    scaling["attention_factor"] = sizes.rope_factor;
  return scaling;
}

/// `rope_scaling`, which holds at every length.
void set_yarn(const nlohmann::json& config, Sizes& sizes) {
  sizes.yarn.reset();
  const auto found = config.find("rope_scaling");
  if (found == config.end() || found->is_null()) return;
  const nlohmann::json& given = *found;
  const char* kind = given.contains("rope_type") ? "rope_type" : "type";
  expect_hugging_face_value(given, kind, {"yarn", "default"});
  if (hugging_face_value<std::string>(given, kind, "default") == "default") return;
  expect_hugging_face_value(given, "truncate", {true});
  const nn::Yarn yarn = {.factor = hugging_face_value<double>(given, "factor"),
                         .beta_fast = hugging_face_value<double>(given, "beta_fast", 32),
                         .beta_slow = hugging_face_value<double>(given, "beta_slow", 1),
                         .original_max_position = hugging_face_value<int64_t>(
                             given, "original_max_position_embeddings")};
  sizes.yarn = yarn;
  sizes.yarn_at_every_length = true;
  // mscale_all_dim is of scores; without it they stay as they are, and the table has a factor.
  const auto mscale = hugging_face_value<double>(given, "mscale", 0);
  sizes.mscale = hugging_face_value<double>(given, "mscale_all_dim", 0);
  const double otherwise =
      mscale != 0 && sizes.mscale != 0
          ? nn::yarn_mscale(yarn.factor, mscale) / nn::yarn_mscale(yarn.factor, sizes.mscale)
          : nn::yarn_mscale(yarn.factor, 1);
  sizes.rope_factor = hugging_face_value<double>(given, "attention_factor", otherwise);
}

nn::MoEOptions experts_of(const nlohmann::json& config, bool is_v3) {
  expect_hugging_face_value(config, "moe_layer_freq", {1});
  nn::MoEOptions moe = {
      .num_experts = hugging_face_value<int64_t>(config, "n_routed_experts"),
      .num_shared_experts = hugging_face_value<int64_t>(config, "n_shared_experts", 0),
      .score_func = is_v3 ? nn::ScoreFunction::kSigmoid : nn::ScoreFunction::kSoftmax,
      .top_k = hugging_face_value<int64_t>(config, "num_experts_per_tok"),
      .route_scale = hugging_face_value<double>(config, "routed_scaling_factor"),
      .score_before_experts = false};
  expect_hugging_face_value(config, "scoring_func", {is_v3 ? "sigmoid" : "softmax"});
  if (is_v3) {
    expect_hugging_face_value(config, "topk_method", {"noaux_tc"});
    moe.route_norm = hugging_face_value<bool>(config, "norm_topk_prob");
    moe.n_expert_groups = hugging_face_value<int64_t>(config, "n_group");
    moe.n_limited_groups = hugging_face_value<int64_t>(config, "topk_group");
    moe.group_top = 2;
    return moe;
  }
  expect_hugging_face_value(config, "norm_topk_prob", {false});
  expect_hugging_face_value(config, "topk_method", {"greedy", "group_limited_greedy"});
  moe.group_top = 1;
  if (hugging_face_value<std::string>(config, "topk_method", "greedy") == "greedy") return moe;
  moe.n_expert_groups = hugging_face_value<int64_t>(config, "n_group");
  moe.n_limited_groups = hugging_face_value<int64_t>(config, "topk_group");
  return moe;
}

}  // namespace

Sizes sizes_from_hugging_face(const nlohmann::json& config) {
  expect_hugging_face_value(config, "model_type", {"deepseek_v3", "deepseek_v2"});
  expect_hugging_face_value(config, "hidden_act", {"silu"});
  expect_hugging_face_value(config, "attention_bias", {false});
  expect_hugging_face_value(config, "attention_dropout", {0});
  expect_hugging_face_value(config, "mlp_bias", {false});
  expect_hugging_face_value(config, "rope_interleave", {true});
  expect_hugging_face_value(config, "partial_rotary_factor", {1});
  expect_hugging_face_value(config, "tie_word_embeddings", {false});
  Sizes sizes;
  sizes.dim = hugging_face_value<int64_t>(config, "hidden_size");
  sizes.n_layers = hugging_face_value<int64_t>(config, "num_hidden_layers");
  sizes.n_dense_layers = hugging_face_value<int64_t>(config, "first_k_dense_replace");
  sizes.n_heads = hugging_face_value<int64_t>(config, "num_attention_heads");
  expect_hugging_face_value(config, "num_key_value_heads", {sizes.n_heads});
  sizes.vocab_size = hugging_face_value<int64_t>(config, "vocab_size");
  sizes.hidden_dim = hugging_face_value<int64_t>(config, "intermediate_size");
  sizes.moe_hidden_dim = hugging_face_value<int64_t>(config, "moe_intermediate_size");
  sizes.moe = experts_of(config, hugging_face_value<std::string>(config, "model_type",
                                                                 "deepseek_v3") == "deepseek_v3");
  sizes.q_lora_rank = hugging_face_value<int64_t>(config, "q_lora_rank", 0);
  sizes.kv_lora_rank = hugging_face_value<int64_t>(config, "kv_lora_rank");
  sizes.qk_nope_head_dim = hugging_face_value<int64_t>(config, "qk_nope_head_dim");
  sizes.qk_rope_head_dim = hugging_face_value<int64_t>(config, "qk_rope_head_dim");
  sizes.v_head_dim = hugging_face_value<int64_t>(config, "v_head_dim");
  sizes.norm_eps = hugging_face_value<double>(config, "rms_norm_eps", 1e-6);
  sizes.final_norm_eps = sizes.norm_eps;
  // The latents' norms have their own there, whatever config.json says.
  sizes.latent_norm_eps = 1e-6;
  sizes.rope_theta = hugging_face_value<double>(config, "rope_theta", 10000.0);
  set_yarn(config, sizes);
  sizes.max_seq_len = hugging_face_value<int64_t>(config, "max_position_embeddings", 4096);
  sizes.mask = block_causal();
  return sizes;
}

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
