#include <gmock/gmock.h>

#include "coeus/checkpoint/hugging_face_config.h"
#include "coeus/models/deepseek_v3/flavors.h"
#include "coeus/models/deepseek_v3/hugging_face.h"
#include "coeus/models/llama3/flavors.h"
#include "coeus/models/llama3/hugging_face.h"
#include "coeus/models/llama4/flavors.h"
#include "coeus/models/llama4/hugging_face.h"
#include "coeus/models/qwen3/flavors.h"
#include "coeus/models/qwen3/hugging_face.h"

namespace coeus {
namespace {

using nlohmann::json;
using testing::HasSubstr;

template <class Read>
std::string refusal(const Read& read) {
  try {
    read();
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

template <class Sizes>
void expect_config_of_each(const std::map<std::string, Sizes>& flavors,
                           HuggingFaceFormat (*format)(const Sizes&),
                           Sizes (*sizes_from)(const json&)) {
  for (const auto& [name, sizes] : flavors) {
    SCOPED_TRACE(name);
    const json config = format(sizes).config;
    EXPECT_EQ(format(sizes_from(config)).config, config);
  }
}

TEST(HuggingFaceSizes, EveryFlavoursConfigDescribesThatFlavour) {
  expect_config_of_each(llama3::flavors(), llama3::hugging_face_format,
                        llama3::sizes_from_hugging_face);
  expect_config_of_each(llama4::flavors(), llama4::hugging_face_format,
                        llama4::sizes_from_hugging_face);
  expect_config_of_each(qwen3::flavors(), qwen3::hugging_face_format,
                        qwen3::sizes_from_hugging_face);
  expect_config_of_each(deepseek_v3::flavors(), deepseek_v3::hugging_face_format,
                        deepseek_v3::sizes_from_hugging_face);
}

TEST(HuggingFaceSizes, RopeStandsInAnOldAndANewForm) {
  json old_form = llama3::hugging_face_format(llama3::flavors().at("1B")).config;
  json new_form = old_form;
  new_form["rope_parameters"] = new_form["rope_scaling"];
  new_form["rope_parameters"]["rope_theta"] = 12345.0;
  new_form.erase("rope_scaling");
  new_form.erase("rope_theta");
  const llama3::Sizes sizes =
      llama3::sizes_from_hugging_face(parse_hugging_face_config(new_form.dump(), "config.json"));
  EXPECT_EQ(sizes.rope_theta, 12345);
  EXPECT_EQ(sizes.rope_scaling.value().factor, 32);
  new_form["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 5.0}};
  const llama3::Sizes plain =
      llama3::sizes_from_hugging_face(parse_hugging_face_config(new_form.dump(), "config.json"));
  EXPECT_EQ(plain.rope_theta, 5);
  EXPECT_FALSE(plain.rope_scaling.has_value());
}

TEST(HuggingFaceSizes, PartsOfRopeParametersThatAreNotBuiltAreSeen) {
  json config = llama3::hugging_face_format(llama3::flavors().at("1B")).config;
  config["rope_parameters"] = {{"rope_theta", 5.0}, {"partial_rotary_factor", 0.5}};
  EXPECT_THAT(refusal([&] {
                llama3::sizes_from_hugging_face(parse_hugging_face_config(config.dump(), "file"));
              }),
              HasSubstr("partial_rotary_factor is 0.5"));
  config["rope_parameters"] = {{"full_attention", {{"rope_theta", 5.0}}}};
  EXPECT_THROW(parse_hugging_face_config(config.dump(), "file"), CheckpointError);
}

// The text_config of Llama-4-Scout-17B-16E as it was first published, less its token ids.
TEST(HuggingFaceSizes, Scout) {
  const json config = json::parse(R"({
    "architectures": ["Llama4ForConditionalGeneration"], "model_type": "llama4",
    "tie_word_embeddings": false, "vision_config": {"hidden_size": 1408},
    "text_config": {
      "attention_bias": false, "attention_chunk_size": 8192, "attention_dropout": 0.0,
      "attn_temperature_tuning": 4, "floor_scale": 8192, "attn_scale": 0.1,
      "head_dim": 128, "hidden_act": "silu", "hidden_size": 5120, "interleave_moe_layer_step": 1,
      "intermediate_size": 8192, "intermediate_size_mlp": 16384,
      "max_position_embeddings": 262144, "model_type": "llama4_text", "no_rope_layers": [],
      "num_attention_heads": 40, "num_experts_per_tok": 1, "num_hidden_layers": 48,
      "num_key_value_heads": 8, "num_local_experts": 16, "rms_norm_eps": 1e-05,
      "rope_scaling": {"factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                       "original_max_position_embeddings": 8192, "rope_type": "llama3"},
      "rope_theta": 500000.0, "router_jitter_noise": 0.0, "use_qk_norm": true,
      "vocab_size": 202048}})");
  const llama4::Sizes sizes =
      llama4::sizes_from_hugging_face(parse_hugging_face_config(config.dump(), "config.json"));
  EXPECT_EQ(sizes.dim, 5120);
  EXPECT_EQ(sizes.expert_hidden_dim(), 8192);
  EXPECT_EQ(sizes.hidden_dim(), 16384);
  EXPECT_TRUE(sizes.is_moe(0));
  EXPECT_FALSE(sizes.is_nope(0));
  EXPECT_TRUE(sizes.is_nope(3));
  EXPECT_TRUE(sizes.is_nope(47));
  EXPECT_TRUE(sizes.qk_norm);
  EXPECT_EQ(sizes.temperature, nn::AttentionTemperature());
  EXPECT_EQ(sizes.masks, llama4::irope_masks(8192));
}

TEST(HuggingFaceSizes, WhatIsNotBuiltIsRefusedByName) {
  const json llama = llama3::hugging_face_format(llama3::flavors().at("1B")).config;
  const auto llama_with = [&](const char* key, const json& value) {
    json config = llama;
    config[key] = value;
    return refusal([&] { llama3::sizes_from_hugging_face(config); });
  };
  EXPECT_EQ(llama_with("head_dim", nullptr), "");
  EXPECT_THAT(llama_with("head_dim", 96), HasSubstr("head_dim is 96"));
  EXPECT_THAT(llama_with("model_type", "mistral"), HasSubstr("model_type is \"mistral\""));
  EXPECT_THAT(llama_with("attention_bias", true), HasSubstr("attention_bias is true"));
  EXPECT_THAT(llama_with("rope_scaling", {{"type", "yarn"}}), HasSubstr("type is \"yarn\""));
  EXPECT_THAT(llama_with("hidden_size", "wide"), HasSubstr("hidden_size is \"wide\""));
  EXPECT_THAT(llama_with("hidden_size", nullptr), HasSubstr("hidden_size is missing"));
  const json qwen = qwen3::hugging_face_format(qwen3::flavors().at("30B-A3B")).config;
  const auto qwen_with = [&](const char* key, const json& value) {
    json config = qwen;
    config[key] = value;
    return refusal([&] { qwen3::sizes_from_hugging_face(config); });
  };
  EXPECT_EQ(qwen_with("rope_scaling", nullptr), "");
  EXPECT_THAT(qwen_with("rope_scaling", {{"rope_type", "yarn"}}),
              HasSubstr("rope_type is \"yarn\""));
  EXPECT_THAT(qwen_with("use_sliding_window", true), HasSubstr("use_sliding_window is true"));
  EXPECT_THAT(qwen_with("layer_types", {"sliding_attention"}), HasSubstr("sliding_attention"));
  const json llama4 = llama4::hugging_face_format(llama4::flavors().at("debugmodel_irope")).config;
  const auto llama4_with = [&](const char* key, const json& value) {
    json config = llama4;
    config[key] = value;
    return refusal([&] { llama4::sizes_from_hugging_face(config); });
  };
  EXPECT_EQ(llama4_with("moe_layers", nullptr), "");
  EXPECT_THAT(llama4_with("no_rope_layers", {1, 0}), HasSubstr("no_rope_layers has 2 entries"));
  EXPECT_THAT(llama4_with("no_rope_layers", {1, 1, 1, 1, 1, 1}), HasSubstr("layer_types has"));
  EXPECT_THAT(llama4_with("moe_layers", {6}), HasSubstr("moe_layers names layer 6 of 6"));
  EXPECT_THAT(llama4_with("attention_chunk_size", nullptr), HasSubstr("attention_chunk_size"));
  EXPECT_THAT(llama4_with("rope_scaling", {{"rope_type", "yarn"}}), HasSubstr("is \"yarn\""));
  EXPECT_THAT(llama4_with("tie_word_embeddings", true), HasSubstr("tie_word_embeddings is true"));
  EXPECT_THAT(llama4_with("hidden_act", "gelu"), HasSubstr("hidden_act is \"gelu\""));
  const json deepseek = deepseek_v3::hugging_face_format(deepseek_v3::flavors().at("671B")).config;
  const auto deepseek_with = [&](const char* key, const json& value) {
    json config = deepseek;
    config[key] = value;
    return refusal([&] { deepseek_v3::sizes_from_hugging_face(config); });
  };
  EXPECT_EQ(deepseek_with("rope_scaling", nullptr), "");
  EXPECT_EQ(deepseek_with("q_lora_rank", nullptr), "");
  EXPECT_THAT(deepseek_with("rope_scaling", {{"type", "linear"}}), HasSubstr("type is \"linear\""));
  EXPECT_THAT(deepseek_with("rope_interleave", false), HasSubstr("rope_interleave is false"));
  EXPECT_THAT(deepseek_with("scoring_func", "softmax"), HasSubstr("scoring_func is \"softmax\""));
  EXPECT_THAT(deepseek_with("topk_method", "greedy"), HasSubstr("topk_method is \"greedy\""));
  EXPECT_THAT(deepseek_with("moe_layer_freq", 2), HasSubstr("moe_layer_freq is 2"));
  EXPECT_THAT(deepseek_with("num_key_value_heads", 8), HasSubstr("num_key_value_heads is 8"));
  EXPECT_THAT(deepseek_with("n_group", nullptr), HasSubstr("n_group is missing"));
}

}  // namespace
}  // namespace coeus
