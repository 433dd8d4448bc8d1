#include "coeus/models/registry.h"

#include "coeus/base/error.h"
#include "coeus/models/llama3/flavors.h"
#include "coeus/models/llama3/model.h"

namespace coeus {

namespace {

/// Looks a flavour up and names those there are when it is not one of them.
template <class Sizes>
const Sizes& flavor_of(const std::map<std::string, Sizes>& flavors, const ModelOptions& options) {
  const auto found = flavors.find(options.flavor);
  COEUS_CHECK_CONFIG(found != flavors.end(),
                     "model.flavor = \"{}\": {} has no such flavour; it has {}", options.flavor,
                     options.name, fmt::join(flavor_names(options.name), ", "));
  return found->second;
}

std::shared_ptr<Model> build_llama3(const ModelOptions& options) {
  llama3::Sizes sizes = flavor_of(llama3::flavors(), options);
  COEUS_CHECK_CONFIG(options.masks.empty(),
                     "model.masks.{}: llama3 has one mask, which model.mask replaces",
                     options.masks.begin()->first);
  if (options.mask) sizes.mask = parse_mask(*options.mask);
  sizes.max_seq_len = options.seq_len;
  return std::make_shared<llama3::Transformer>(sizes, options.engine, options.tensors);
}

const std::map<std::string, std::shared_ptr<Model> (*)(const ModelOptions&)>& builders() {
  static const std::map<std::string, std::shared_ptr<Model> (*)(const ModelOptions&)> all = {
      {"llama3", build_llama3}};
  return all;
}

}  // namespace

std::vector<std::string> model_names() {
  std::vector<std::string> names;
  for (const auto& [name, builder] : builders()) names.push_back(name);
  return names;
}

std::vector<std::string> flavor_names(const std::string& model) {
  std::vector<std::string> names;
  if (model == "llama3")
    for (const auto& [name, sizes] : llama3::flavors()) names.push_back(name);
  return names;
}

std::shared_ptr<Model> build_model(const ModelOptions& options) {
  const auto found = builders().find(options.name);
  COEUS_CHECK_CONFIG(found != builders().end(),
                     "model.name = \"{}\" is not a model of coeus; there are {}", options.name,
                     fmt::join(model_names(), ", "));
  return found->second(options);
}

}  // namespace coeus
