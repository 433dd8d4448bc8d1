#include "coeus/checkpoint/hugging_face_config.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "coeus/base/log.h"

namespace coeus {

using nlohmann::json;

namespace {

constexpr const char* kConfigName = "config.json";
constexpr uint64_t kMaxConfigBytes = 10'000'000;

constexpr std::array<std::string_view, 3> kHeads = {"num_attention_heads", "num_key_value_heads",
                                                    "head_dim"};
/// They do not change what the weights compute, or shapes show them.
constexpr std::array<std::string_view, 8> kUncompared = {
    "architectures",       "model_type",   "torch_dtype",  "max_position_embeddings",
    "tie_word_embeddings", "bos_token_id", "eos_token_id", "num_nextn_predict_layers"};

/// Lists that are made of other keys where they are null or empty.
constexpr std::array<std::string_view, 3> kDerived = {"no_rope_layers", "moe_layers",
                                                      "layer_types"};

template <size_t n>
bool contains(const std::array<std::string_view, n>& list, std::string_view key) {
  return std::find(list.begin(), list.end(), key) != list.end();
}

void lift_text_config(json& config) {
  const auto text = config.find("text_config");
  if (text == config.end() || !text->is_object()) return;
  const json inner = *text;
  for (const auto& [key, value] : inner.items()) config[key] = value;
  config.erase("text_config");
}

void lift_rope_parameters(json& config, const std::string& file) {
  const auto found = config.find("rope_parameters");
  if (found == config.end() || !found->is_object()) return;
  json rope = *found;
  config.erase("rope_parameters");
  for (const char* key : {"rope_theta", "partial_rotary_factor"}) {
    if (rope.contains(key)) config[key] = rope[key];
    rope.erase(key);
  }
  for (const auto& [key, value] : rope.items())
    COEUS_CHECK_AS(CheckpointError, !value.is_object(),
                   "{}: rope_parameters has other values for {} layers; coeus has one for all",
                   file, key);
  const std::string type = rope.value("rope_type", rope.value("type", std::string("default")));
  config["rope_scaling"] = type == "default" ? json(nullptr) : rope;
}

bool differ(const json& a, const json& b) {
  if (a.is_number() && b.is_number()) return a.get<double>() != b.get<double>();
  // A number stands for a switch in some older files.
  if (a.is_number() && b.is_boolean()) return (a.get<double>() != 0) != b.get<bool>();
  if (!a.is_object() || !b.is_object()) return a != b;
  return std::any_of(b.items().begin(), b.items().end(), [&](const auto& item) {
    return a.contains(item.key()) && differ(a.at(item.key()), item.value());
  });
}

}  // namespace

json parse_hugging_face_config(const std::string& text, const std::string& file) {
  json config = json::parse(text, nullptr, /*allow_exceptions=*/false);
  COEUS_CHECK_AS(CheckpointError, config.is_object(), "{} is not a JSON object", file);
  lift_text_config(config);
  try {
    lift_rope_parameters(config, file);
  } catch (const json::exception& error) {
    throw CheckpointError(fmt::format("{}: rope_parameters: {}", file, error.what()));
  }
  return config;
}

std::optional<json> read_hugging_face_config(FileSystem& file_system,
                                             const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / kConfigName;
  if (file_system.kind(path) != FileSystem::Kind::kFile) return std::nullopt;
  return parse_hugging_face_config(file_system.read_text(path, kMaxConfigBytes), path.string());
}

void expect_hugging_face_value(const json& config, const char* key,
                               const std::vector<json>& known) {
  const auto found = config.find(key);
  if (found == config.end() || found->is_null()) return;
  std::vector<std::string> texts;
  for (const json& value : known) texts.push_back(value.dump());
  COEUS_CHECK_CONFIG(std::find(known.begin(), known.end(), *found) != known.end(),
                     "config.json: {} is {}; coeus builds this model only with {}", key,
                     found->dump(), fmt::join(texts, " or "));
}

void compare_hugging_face_config(const json& stored, const json& own, const std::string& file) {
  for (const auto& [key, value] : own.items()) {
    const auto found = stored.find(key);
    if (found == stored.end() || contains(kUncompared, key)) continue;
    // A head_dim of null is hidden_size / num_attention_heads.
    if (contains(kHeads, key) && found->is_null()) continue;
    if (contains(kDerived, key) && found->empty()) continue;
    if (!differ(*found, value)) continue;
    const std::string both = fmt::format("{}: {} is {}, but the model is built with {}", file, key,
                                         found->dump(), value.dump());
    COEUS_CHECK_AS(CheckpointError, !contains(kHeads, key), "{}; choose the flavour that fits",
                   both);
    log_warning("{}: the weights will compute other numbers than where they come from", both);
  }
}

}  // namespace coeus
