#include "golden_file.h"

#include <torch/types.h>

#include <fstream>
#include <map>

#include "coeus/base/error.h"
#include "coeus/base/random.h"
#include "coeus/checkpoint/safetensors_folder.h"

namespace coeus {

using nlohmann::json;

namespace {

constexpr uint64_t kSeed = 2025;

void set_vocab_size(json& shapes, const std::string& name, int64_t vocab_size) {
  if (shapes.contains(name)) shapes[name][0] = vocab_size;
}

}  // namespace

json golden_file(const std::string& name) {
  const std::string path = COEUS_SOURCE_DIR "/tests/hugging_face/golden/" + name + ".json";
  std::ifstream file(path);
  COEUS_CHECK(file.good(), "cannot read {}", path);
  return json::parse(file);
}

at::Tensor formula_weight(const std::string& name, const std::vector<int64_t>& shape) {
  const bool is_norm = name.find("norm") != std::string::npos && name.ends_with(".weight");
  const double centre = is_norm ? 1 : 0;
  const CounterRandom random(kSeed, name);
  const at::Tensor weight = at::empty(shape, at::kFloat);
  float* const numbers = weight.mutable_data_ptr<float>();
  for (int64_t i = 0; i < weight.numel(); ++i)
    numbers[i] = static_cast<float>(centre + (random.uniform(i) - 0.5) * 0.5);
  return weight;
}

at::Tensor matrix_of(const json& rows) {
  const auto columns = static_cast<int64_t>(rows.at(0).size());
  const at::Tensor matrix = at::empty({static_cast<int64_t>(rows.size()), columns}, at::kFloat);
  float* out = matrix.mutable_data_ptr<float>();
  for (const json& row : rows)
    for (const json& number : row) *out++ = number.get<float>();
  return matrix;
}

std::filesystem::path write_model_folder(const std::filesystem::path& folder, const json& config,
                                         const json& shapes, const std::string& prefix) {
  std::filesystem::create_directory(folder);
  std::filesystem::create_directories(folder);
  std::vector<SafetensorsEntry> entries;
  for (const auto& [name, shape] : shapes.items())
    entries.push_back({prefix + name, StoredType::kF32, shape.get<std::vector<int64_t>>(), 0, 0});
  const auto read = [&](const std::string& name, std::optional<int64_t> index) {
    const std::string golden_name = name.substr(prefix.size());
    const at::Tensor all = formula_weight(golden_name, shapes[golden_name]);
    return index ? all[*index] : all;
  };
  write_safetensors_folder(posix_file_system(), folder, entries, read, uint64_t{1} << 40);
  write_synced(posix_file_system(), folder / "config.json", config.dump(2));
  return folder;
}

std::filesystem::path write_model_folder(const std::filesystem::path& folder,
                                         const std::string& golden, int64_t vocab_size) {
  json file = golden_file(golden);
  file["config"]["vocab_size"] = vocab_size;
  set_vocab_size(file["tensors"], "model.embed_tokens.weight", vocab_size);
  set_vocab_size(file["tensors"], "lm_head.weight", vocab_size);
  return write_model_folder(folder, file["config"], file["tensors"]);
}

std::string family_of(const json& config) {
  static const std::map<std::string, std::string> families = {
      {"llama", "llama3"},           {"llama4_text", "llama4"},
      {"llama4", "llama4"},          {"qwen3", "qwen3"},
      {"qwen3_moe", "qwen3"},        {"deepseek_v2", "deepseek_v3"},
      {"deepseek_v3", "deepseek_v3"}};
  return families.at(config.at("model_type"));
}

}  // namespace coeus
