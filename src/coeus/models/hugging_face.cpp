#include "coeus/models/hugging_face.h"

#include "coeus/base/error.h"
#include "coeus/checkpoint/hugging_face_config.h"
#include "coeus/models/deepseek_v3/flavors.h"
#include "coeus/models/deepseek_v3/hugging_face.h"
#include "coeus/models/llama3/flavors.h"
#include "coeus/models/llama3/hugging_face.h"
#include "coeus/models/llama4/flavors.h"
#include "coeus/models/llama4/hugging_face.h"
#include "coeus/models/qwen3/flavors.h"
#include "coeus/models/qwen3/hugging_face.h"
#include "coeus/models/registry.h"

namespace coeus {

namespace {

template <class Sizes>
Sizes sizes_of(const std::map<std::string, Sizes>& flavors,
               Sizes (*from_hugging_face)(const nlohmann::json&), const std::string& name,
               const std::string& flavor, const std::filesystem::path& folder) {
  if (flavor == kFromHuggingFace) return from_hugging_face(hugging_face_config_in(folder));
  const auto found = flavors.find(flavor);
  COEUS_CHECK_CONFIG(found != flavors.end(), "model.flavor = \"{}\": {} has no such flavour",
                     flavor, name);
  return found->second;
}

}  // namespace

nlohmann::json hugging_face_config_in(const std::filesystem::path& folder) {
  try {
    const auto config = read_hugging_face_config(posix_file_system(), folder);
    COEUS_CHECK_CONFIG(config.has_value(),
                       "model.flavor = \"{}\": there is no config.json in {}; name its folder as "
                       "checkpoint.initial_load_path or model.hf_assets_path",
                       kFromHuggingFace, folder.string());
    return *config;
  } catch (const CheckpointError& error) {
    throw ConfigError(error.what());
  } catch (const FileError& error) {
    throw ConfigError(error.what());
  }
}

HuggingFaceFormat hugging_face_format(const std::string& name, const std::string& flavor,
                                      int64_t num_mtp_layers, const std::filesystem::path& folder) {
  if (name == "llama3")
    return llama3::hugging_face_format(
        sizes_of(llama3::flavors(), llama3::sizes_from_hugging_face, name, flavor, folder));
  if (name == "llama4")
    return llama4::hugging_face_format(
        sizes_of(llama4::flavors(), llama4::sizes_from_hugging_face, name, flavor, folder));
  if (name == "qwen3")
    return qwen3::hugging_face_format(
        sizes_of(qwen3::flavors(), qwen3::sizes_from_hugging_face, name, flavor, folder));
  if (name == "deepseek_v3") {
    deepseek_v3::Sizes sizes = sizes_of(deepseek_v3::flavors(),
                                        deepseek_v3::sizes_from_hugging_face, name, flavor, folder);
    sizes.n_prediction_layers = num_mtp_layers;
    return deepseek_v3::hugging_face_format(sizes);
  }
  const ModelFamily* registered = find_family(name);
  if (registered != nullptr && registered->hugging_face) return registered->hugging_face(flavor);
  throw ConfigError(
      fmt::format("model.name = \"{}\" has no form of Hugging Face's that coeus knows", name));
}

}  // namespace coeus
