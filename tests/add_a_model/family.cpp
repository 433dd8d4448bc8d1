#include "add_a_model/family.h"

#include "add_a_model/flavors.h"
#include "add_a_model/hugging_face.h"
#include "coeus/base/error.h"
#include "coeus/models/registry.h"

namespace coeus::palm {

namespace {

Sizes sizes_of(const std::string& flavor) {
  const auto found = flavors().find(flavor);
  COEUS_CHECK_CONFIG(found != flavors().end(),
                     "model.flavor = \"{}\": palm has no such flavour; it has {}", flavor,
                     fmt::join(flavor_names("palm"), ", "));
  return found->second;
}

std::shared_ptr<Model> build(const ModelOptions& options) {
  Sizes sizes = sizes_of(options.flavor);
  replace_masks(options, sizes.masks);
  sizes.max_seq_len = options.seq_len;
  return std::make_shared<Transformer>(sizes, options.engine, options.tensors);
}

}  // namespace

void register_family() {
  ModelFamily family = {.build = build, .hugging_face = [](const std::string& flavor) {
                          return hugging_face_format(sizes_of(flavor));
                        }};
  for (const auto& [name, sizes] : flavors()) family.flavors.push_back(name);
  register_model("palm", family);
}

}  // namespace coeus::palm
