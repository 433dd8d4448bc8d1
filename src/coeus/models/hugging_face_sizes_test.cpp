#include <gmock/gmock.h>

#include "coeus/checkpoint/hugging_face_config.h"
#include "coeus/models/llama3/flavors.h"
#include "coeus/models/llama3/hugging_face.h"
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

TEST(HuggingFaceSizes, EveryFlavoursConfigDescribesThatFlavour) {
  for (const auto& [name, sizes] : llama3::flavors()) {
    SCOPED_TRACE("llama3 " + name);
    const json config = llama3::hugging_face_format(sizes).config;
    EXPECT_EQ(llama3::hugging_face_format(llama3::sizes_from_hugging_face(config)).config, config);
  }
  for (const auto& [name, sizes] : qwen3::flavors()) {
    SCOPED_TRACE("qwen3 " + name);
    const json config = qwen3::hugging_face_format(sizes).config;
    EXPECT_EQ(qwen3::hugging_face_format(qwen3::sizes_from_hugging_face(config)).config, config);
  }
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
  EXPECT_EQ(sizes.rope_scaling.factor, 32);
  new_form["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 5.0}};
  const llama3::Sizes plain =
      llama3::sizes_from_hugging_face(parse_hugging_face_config(new_form.dump(), "config.json"));
  EXPECT_EQ(plain.rope_theta, 5);
  EXPECT_EQ(plain.rope_scaling.factor, 1);
}

TEST(HuggingFaceSizes, FrequenciesAreLeftAloneWithoutScaling) {
  json config = llama3::hugging_face_format(llama3::flavors().at("1B")).config;
  config["rope_scaling"] = nullptr;
  const llama3::Sizes sizes = llama3::sizes_from_hugging_face(config);
  const nn::RopeOptions plain = {
      .head_dim = 64, .max_positions = 32, .theta = sizes.rope_theta, .scaling = std::nullopt};
  nn::RopeOptions scaled = plain;
  scaled.scaling = sizes.rope_scaling;
  EXPECT_TRUE(at::equal(nn::rope_table(plain), nn::rope_table(scaled)));
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
  EXPECT_THAT(qwen_with("rope_scaling", {{"rope_type", "yarn"}}), HasSubstr("rope_scaling is"));
  EXPECT_THAT(qwen_with("mlp_only_layers", {0}), HasSubstr("mlp_only_layers is [0]"));
  EXPECT_THAT(qwen_with("use_sliding_window", true), HasSubstr("use_sliding_window is true"));
}

}  // namespace
}  // namespace coeus
