#include "add_a_model/flavors.h"

namespace coeus::palm {

namespace {

Sizes debugmodel() {
  return {.dim = 256,
          .n_layers = 4,
          .n_heads = 8,
          .head_dim = 32,
          .hidden_dim = 1024,
          .vocab_size = 2048};
}

Sizes local(Sizes sizes) {
  sizes.masks = local_and_global_masks(16);
  return sizes;
}

}  // namespace

const std::map<std::string, Sizes>& flavors() {
  static const std::map<std::string, Sizes> all = {
      {"debugmodel", debugmodel()}, {"debugmodel_local", local(debugmodel())}, {"8B", {}}};
  return all;
}

}  // namespace coeus::palm
