#include "coeus/models/registry.h"

#include "coeus/base/error.h"
#include "coeus/models/deepseek_v3/flavors.h"
#include "coeus/models/deepseek_v3/hugging_face.h"
#include "coeus/models/deepseek_v3/model.h"
#include "coeus/models/deepseek_v3/parallelize.h"
#include "coeus/models/hugging_face.h"
#include "coeus/models/llama3/flavors.h"
#include "coeus/models/llama3/hugging_face.h"
#include "coeus/models/llama3/model.h"
#include "coeus/models/llama3/parallelize.h"
#include "coeus/models/llama4/flavors.h"
#include "coeus/models/llama4/hugging_face.h"
#include "coeus/models/llama4/model.h"
#include "coeus/models/llama4/parallelize.h"
#include "coeus/models/qwen3/flavors.h"
#include "coeus/models/qwen3/hugging_face.h"
#include "coeus/models/qwen3/model.h"
#include "coeus/models/qwen3/parallelize.h"
#include "coeus/models/vlm/flavors.h"
#include "coeus/models/vlm/model.h"

namespace coeus {

namespace {

template <class Value>
std::vector<std::string> names_of(const std::map<std::string, Value>& map) {
  std::vector<std::string> names;
  for (const auto& [name, value] : map) names.push_back(name);
  return names;
}

/// Looks a flavour up and names those there are when it is not one of them.
template <class Sizes>
const Sizes& flavor_of(const std::map<std::string, Sizes>& flavors, const ModelOptions& options) {
  const auto found = flavors.find(options.flavor);
  COEUS_CHECK_CONFIG(found != flavors.end(),
                     "model.flavor = \"{}\": {} has no such flavour; it has {}", options.flavor,
                     options.name, fmt::join(names_of(flavors), ", "));
  return found->second;
}

/// The flavour's sizes, or those that a config.json gives.
template <class Sizes>
Sizes sizes_of(const std::map<std::string, Sizes>& flavors,
               Sizes (*from_hugging_face)(const nlohmann::json&), const ModelOptions& options) {
  if (options.flavor == kFromHuggingFace)
    return from_hugging_face(hugging_face_config_in(options.hugging_face_folder));
  return flavor_of(flavors, options);
}

std::shared_ptr<Model> build_llama3(const ModelOptions& options) {
  llama3::Sizes sizes = sizes_of(llama3::flavors(), llama3::sizes_from_hugging_face, options);
  COEUS_CHECK_CONFIG(options.masks.empty(),
                     "model.masks.{}: llama3 has one mask, which model.mask replaces",
                     options.masks.begin()->first);
  if (options.mask) sizes.mask = parse_mask(*options.mask);
  sizes.max_seq_len = options.seq_len;
  return std::make_shared<llama3::Transformer>(sizes, options.engine, options.tensors);
}

std::shared_ptr<Model> build_llama4(const ModelOptions& options) {
  llama4::Sizes sizes = sizes_of(llama4::flavors(), llama4::sizes_from_hugging_face, options);
  replace_masks(options, sizes.masks);
  apply(options.moe, options.force_load_balance, sizes.moe);
  sizes.max_seq_len = options.seq_len;
  return std::make_shared<llama4::Transformer>(sizes, options.engine, options.tensors);
}

/// replace_masks for a model whose layers share one mask.
void replace_mask(const ModelOptions& options, Mask& mask) {
  std::map<std::string, Mask> masks = {{"attention", mask}};
  replace_masks(options, masks);
  mask = masks.at("attention");
}

std::shared_ptr<Model> build_deepseek_v3(const ModelOptions& options) {
  deepseek_v3::Sizes sizes =
      sizes_of(deepseek_v3::flavors(), deepseek_v3::sizes_from_hugging_face, options);
  replace_mask(options, sizes.mask);
  apply(options.moe, options.force_load_balance, sizes.moe);
  sizes.n_prediction_layers = options.num_mtp_layers;
  sizes.training_seq_len = options.training_seq_len.value_or(options.seq_len);
  sizes.max_seq_len = options.seq_len;
  return std::make_shared<deepseek_v3::Transformer>(sizes, options.engine, options.tensors);
}

std::shared_ptr<Model> build_qwen3(const ModelOptions& options) {
  qwen3::Sizes sizes = sizes_of(qwen3::flavors(), qwen3::sizes_from_hugging_face, options);
  replace_mask(options, sizes.mask);
  if (sizes.moe) apply(options.moe, options.force_load_balance, *sizes.moe);
  sizes.max_seq_len = options.seq_len;
  return std::make_shared<qwen3::Transformer>(sizes, options.engine, options.tensors);
}

std::shared_ptr<Model> build_vlm(const ModelOptions& options) {
  vlm::Sizes sizes = flavor_of(vlm::flavors(), options);
  replace_masks(options, sizes.masks);
  sizes.decoder.max_seq_len = options.seq_len;
  return std::make_shared<vlm::Transformer>(sizes, options.engine, options.tensors);
}

/// For a family whose models are all `Transformer`.
template <class Transformer>
std::function<void(Model&, ModelParallel&)> parallelized_by(
    void (*parallelize)(Transformer& model, ModelParallel& parallel)) {
  return [parallelize](Model& model, ModelParallel& parallel) {
    auto* const transformer = dynamic_cast<Transformer*>(&model);
    COEUS_ASSERT(transformer != nullptr);
    parallelize(*transformer, parallel);
  };
}

std::map<std::string, ModelFamily>& families() {
  static std::map<std::string, ModelFamily> all = {
      {"deepseek_v3",
       {build_deepseek_v3,
        names_of(deepseek_v3::flavors()),
        {},
        parallelized_by(deepseek_v3::parallelize)}},
      {"llama3",
       {build_llama3, names_of(llama3::flavors()), {}, parallelized_by(llama3::parallelize)}},
      {"llama4",
       {build_llama4, names_of(llama4::flavors()), {}, parallelized_by(llama4::parallelize)}},
      {"qwen3", {build_qwen3, names_of(qwen3::flavors()), {}, parallelized_by(qwen3::parallelize)}},
      {"vlm", {build_vlm, names_of(vlm::flavors())}}};
  return all;
}

}  // namespace

void replace_masks(const ModelOptions& options, std::map<std::string, Mask>& masks) {
  std::vector<std::string> names;
  for (const auto& [name, mask] : masks) names.push_back(name);
  if (options.mask) {
    COEUS_CHECK_CONFIG(masks.size() == 1, "model.mask: {} {} has several masks; set model.masks.{}",
                       options.name, options.flavor, fmt::join(names, " or model.masks."));
    masks.begin()->second = parse_mask(*options.mask);
  }
  for (const auto& [name, text] : options.masks) {
    COEUS_CHECK_CONFIG(masks.size() > 1,
                       "model.masks.{}: {} {} has one mask, which model.mask replaces", name,
                       options.name, options.flavor);
    COEUS_CHECK_CONFIG(masks.contains(name), "model.masks.{}: {} {} has no such mask; it has {}",
                       name, options.name, options.flavor, fmt::join(names, ", "));
    masks.insert_or_assign(name, parse_mask(text));
  }
}

void register_model(const std::string& name, ModelFamily family) {
  COEUS_CHECK(!families().contains(name), "[register_model] there is a model \"{}\" already", name);
  families().emplace(name, std::move(family));
}

const ModelFamily* find_family(const std::string& name) {
  const auto found = families().find(name);
  return found == families().end() ? nullptr : &found->second;
}

std::vector<std::string> model_names() { return names_of(families()); }

std::vector<std::string> flavor_names(const std::string& model) {
  const ModelFamily* family = find_family(model);
  return family == nullptr ? std::vector<std::string>() : family->flavors;
}

std::shared_ptr<Model> build_model(const ModelOptions& options) {
  const ModelFamily* family = find_family(options.name);
  COEUS_CHECK_CONFIG(family != nullptr, "model.name = \"{}\" is not a model of coeus; there are {}",
                     options.name, fmt::join(model_names(), ", "));
  COEUS_CHECK_CONFIG(options.num_mtp_layers >= 0,
                     "model.num_mtp_layers = {}: give 0 or the number of further tokens to predict",
                     options.num_mtp_layers);
  COEUS_CHECK_CONFIG(options.num_mtp_layers == 0 || options.name == "deepseek_v3",
                     "model.num_mtp_layers = {}: {} predicts the next token alone; use 0",
                     options.num_mtp_layers, options.name);
  return family->build(options);
}

}  // namespace coeus
