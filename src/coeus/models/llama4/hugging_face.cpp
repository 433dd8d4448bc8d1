#include "coeus/models/llama4/hugging_face.h"

#include <algorithm>

#include "coeus/checkpoint/hugging_face_config.h"
#include "coeus/models/hugging_face_rope.h"

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

/// A list of one entry a layer; empty if it is not given.
template <class T>
std::vector<T> layer_list(const nlohmann::json& config, const char* key, int64_t n_layers) {
  auto list = hugging_face_value<std::vector<T>>(config, key, std::vector<T>());
  COEUS_CHECK_CONFIG(list.empty() || std::ssize(list) == n_layers,
                     "config.json: {} has {} entries, but num_hidden_layers is {}", key,
                     list.size(), n_layers);
  return list;
}

std::vector<bool> nope_layers(const nlohmann::json& config, int64_t n_layers) {
  // 1 stands for a layer with rotary positions.
  const auto has_rope = layer_list<int64_t>(config, "no_rope_layers", n_layers);
  const auto interval = hugging_face_value<int64_t>(config, "no_rope_layer_interval", 4);
  COEUS_CHECK_CONFIG(interval > 0, "config.json: no_rope_layer_interval is {}", interval);
  std::vector<bool> nope(n_layers);
  for (int64_t i = 0; i < n_layers; ++i)
    nope[i] = has_rope.empty() ? (i + 1) % interval == 0 : has_rope[i] == 0;
  return nope;
}

std::vector<bool> moe_layers(const nlohmann::json& config, int64_t n_layers) {
  const auto step = hugging_face_value<int64_t>(config, "interleave_moe_layer_step", 1);
  std::vector<bool> moe(n_layers);
  const auto given = config.find("moe_layers");
  if (given == config.end() || given->is_null()) {
    COEUS_CHECK_CONFIG(step > 0, "config.json: interleave_moe_layer_step is {}", step);
    for (int64_t i = step - 1; i < n_layers; i += step) moe[i] = true;
    return moe;
  }
  for (const int64_t layer : hugging_face_value<std::vector<int64_t>>(config, "moe_layers")) {
    COEUS_CHECK_CONFIG(layer >= 0 && layer < n_layers,
                       "config.json: moe_layers names layer {} of {}", layer, n_layers);
    moe[layer] = true;
  }
  return moe;
}

/// Layers with rotary positions see their chunk where layer_types says so, or says nothing.
Masks masks_of(const nlohmann::json& config, const std::vector<bool>& nope) {
  const auto types = layer_list<std::string>(config, "layer_types", std::ssize(nope));
  const bool has_nope = std::find(nope.begin(), nope.end(), true) != nope.end();
  const auto everywhere = [&](const char* type) {
    return !types.empty() && std::all_of(types.begin(), types.end(),
                                         [&](const std::string& other) { return other == type; });
  };
  if (everywhere("full_attention")) return {{kMaskName, mask::causal() & mask::document()}};
  for (size_t i = 0; i < types.size(); ++i)
    COEUS_CHECK_CONFIG(types[i] == (nope[i] ? "full_attention" : "chunked_attention"),
                       "config.json: layer_types has {} for layer {}; coeus builds Llama 4 with "
                       "chunked_attention where no_rope_layers is 1 and full_attention where it is "
                       "0, or with full_attention everywhere",
                       types[i], i);
  COEUS_CHECK_CONFIG(
      !config.contains("attention_chunk_size") || !config["attention_chunk_size"].is_null(),
      "config.json: attention_chunk_size is null, but layers with rotary positions "
      "attend by chunks");
  const auto chunk = hugging_face_value<int64_t>(config, "attention_chunk_size", 8192);
  COEUS_CHECK_CONFIG(chunk > 0, "config.json: attention_chunk_size is {}", chunk);
  Masks masks = irope_masks(chunk);
  if (!has_nope) masks.erase(kNopeMaskName);
  return masks;
}

/// In the first published files the number of a level stands for true.
bool is_on(const nlohmann::json& config, const char* key, bool otherwise) {
  const auto found = config.find(key);
  if (found != config.end() && found->is_number_integer()) return found->get<int64_t>() != 0;
  return hugging_face_value<bool>(config, key, otherwise);
}

}  // namespace

Sizes sizes_from_hugging_face(const nlohmann::json& config) {
  expect_hugging_face_value(config, "model_type", {"llama4_text", "llama4"});
  expect_hugging_face_value(config, "hidden_act", {"silu"});
  expect_hugging_face_value(config, "attention_bias", {false});
  expect_hugging_face_value(config, "attention_dropout", {0});
  expect_hugging_face_value(config, "router_jitter_noise", {0});
  expect_hugging_face_value(config, "partial_rotary_factor", {1});
  expect_hugging_face_value(config, "tie_word_embeddings", {false});
  Sizes sizes;
  sizes.dim = hugging_face_value<int64_t>(config, "hidden_size");
  sizes.n_layers = hugging_face_value<int64_t>(config, "num_hidden_layers");
  COEUS_CHECK_CONFIG(sizes.n_layers > 0, "config.json: num_hidden_layers is {}", sizes.n_layers);
  sizes.n_heads = hugging_face_value<int64_t>(config, "num_attention_heads");
  sizes.n_kv_heads = hugging_face_value<int64_t>(config, "num_key_value_heads", sizes.n_heads);
  sizes.vocab_size = hugging_face_value<int64_t>(config, "vocab_size");
  sizes.norm_eps = hugging_face_value<double>(config, "rms_norm_eps", 1e-5);
  sizes.rope_theta = hugging_face_value<double>(config, "rope_theta", 500000.0);
  sizes.rope_scaling = rope_scaling_from_hugging_face(config);
  sizes.max_seq_len = hugging_face_value<int64_t>(config, "max_position_embeddings", 131072);
  sizes.interleave_moe_layer_step =
      hugging_face_value<int64_t>(config, "interleave_moe_layer_step", 1);
  sizes.moe.num_experts = hugging_face_value<int64_t>(config, "num_local_experts");
  sizes.moe.top_k = hugging_face_value<int64_t>(config, "num_experts_per_tok");
  Sizes::Given given;
  given.head_dim = hugging_face_value<int64_t>(config, "head_dim", 128);
  given.hidden_dim = hugging_face_value<int64_t>(config, "intermediate_size_mlp");
  given.expert_hidden_dim = hugging_face_value<int64_t>(config, "intermediate_size");
  given.moe_layers = moe_layers(config, sizes.n_layers);
  given.nope_layers = nope_layers(config, sizes.n_layers);
  sizes.masks = masks_of(config, given.nope_layers);
  sizes.given = given;
  sizes.qk_norm = hugging_face_value<bool>(config, "use_qk_norm", true);
  if (is_on(config, "attn_temperature_tuning", true))
    sizes.temperature = {.scale = hugging_face_value<double>(config, "attn_scale", 0.1),
                         .floor_scale = hugging_face_value<int64_t>(config, "floor_scale", 8192)};
  return sizes;
}

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
  HuggingFaceFormat format = {
      names_of(),
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
       {"rope_scaling", rope_scaling_to_hugging_face(sizes.rope_scaling)},
       {"max_position_embeddings", sizes.max_seq_len},
       {"num_local_experts", sizes.moe.num_experts},
       {"num_experts_per_tok", sizes.moe.top_k},
       {"interleave_moe_layer_step", sizes.interleave_moe_layer_step},
       {"moe_layers", moe_layers},
       // 1 stands for a layer with rotary positions.
       {"no_rope_layers", has_rope},
       {"layer_types", layer_types},
       {"attention_chunk_size", chunk ? nlohmann::json(*chunk) : nlohmann::json(nullptr)},
       {"use_qk_norm", sizes.qk_norm},
       {"attn_temperature_tuning", sizes.temperature.has_value()},
       {"hidden_act", "silu"},
       {"attention_bias", false},
       {"tie_word_embeddings", false},
       {"bos_token_id", nullptr},
       {"eos_token_id", nullptr}}};
  if (sizes.temperature)
    format.config.update({{"floor_scale", sizes.temperature->floor_scale},
                          {"attn_scale", sizes.temperature->scale}});
  return format;
}

}  // namespace coeus::llama4
