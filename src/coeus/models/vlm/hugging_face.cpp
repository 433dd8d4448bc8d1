#include "coeus/models/vlm/hugging_face.h"

#include <cmath>

#include "coeus/checkpoint/hugging_face_config.h"

namespace coeus::vlm {

namespace {

/// The rules of a layer with a bias.
void add_biased(std::vector<NameRule>& rules, const std::string& native,
                const std::string& foreign) {
  for (const std::string part : {".weight", ".bias"})
    rules.push_back({native + part, foreign + part});
}

}  // namespace

HuggingFaceFormat siglip2_hugging_face_format(const Siglip2Sizes& sizes) {
  ForeignNames names;
  const std::string tower = "vision_model.";
  add_biased(names.rules, "embeddings.patch_embedding", tower + "embeddings.patch_embedding");
  names.rules.push_back(
      {"embeddings.position_embedding.weight", tower + "embeddings.position_embedding.weight"});
  for (const std::string layer :
       {"layer_norm1", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
        "self_attn.out_proj", "layer_norm2", "mlp.fc1", "mlp.fc2"})
    add_biased(names.rules, "layers.{}." + layer, tower + "encoder.layers.{}." + layer);
  add_biased(names.rules, "post_layernorm", tower + "post_layernorm");
  names.ignored = {tower + "head.*", "text_model.*", "logit_scale", "logit_bias"};
  return {names,
          {{"architectures", {"Siglip2VisionModel"}},
           {"model_type", "siglip2_vision_model"},
           {"hidden_size", sizes.dim},
           {"intermediate_size", sizes.ffn_dim},
           {"num_hidden_layers", sizes.n_layers},
           {"num_attention_heads", sizes.n_heads},
           {"num_channels", sizes.n_channels},
           {"num_patches", sizes.n_pos_embs * sizes.n_pos_embs},
           {"patch_size", sizes.patch_size},
           {"hidden_act", "gelu_pytorch_tanh"},
           {"layer_norm_eps", sizes.layer_norm_eps}}};
}

Siglip2Sizes siglip2_sizes_from_hugging_face(const nlohmann::json& config) {
  const auto whole = config.find("vision_config");
  const nlohmann::json& tower = whole == config.end() ? config : *whole;
  expect_hugging_face_value(tower, "model_type", {"siglip2_vision_model"});
  expect_hugging_face_value(tower, "hidden_act", {"gelu_pytorch_tanh"});
  Siglip2Sizes sizes;
  sizes.dim = hugging_face_value<int64_t>(tower, "hidden_size", 768);
  sizes.ffn_dim = hugging_face_value<int64_t>(tower, "intermediate_size", 3072);
  sizes.n_layers = hugging_face_value<int64_t>(tower, "num_hidden_layers", 12);
  sizes.n_heads = hugging_face_value<int64_t>(tower, "num_attention_heads", 12);
  sizes.n_channels = hugging_face_value<int64_t>(tower, "num_channels", 3);
  sizes.patch_size = hugging_face_value<int64_t>(tower, "patch_size", 16);
  sizes.layer_norm_eps = hugging_face_value<double>(tower, "layer_norm_eps", 1e-6);
  const auto positions = hugging_face_value<int64_t>(tower, "num_patches", 256);
  sizes.n_pos_embs = std::llround(std::sqrt(static_cast<double>(positions)));
  COEUS_CHECK_CONFIG(sizes.n_pos_embs > 0 && sizes.n_pos_embs * sizes.n_pos_embs == positions,
                     "config.json: num_patches is {}, which is no square of a whole number",
                     positions);
  COEUS_CHECK_CONFIG(sizes.n_heads > 0 && sizes.dim % sizes.n_heads == 0,
                     "config.json: num_attention_heads is {}, which does not divide hidden_size {}",
                     sizes.n_heads, sizes.dim);
  return sizes;
}

}  // namespace coeus::vlm
