#include "coeus/models/vlm/flavors.h"

#include "coeus/models/llama3/flavors.h"

namespace coeus::vlm {

const std::map<std::string, Sizes>& flavors() {
  static const std::map<std::string, Sizes> all = {
      {"debugmodel",
       {.decoder = llama3::flavors().at("debugmodel_flex_attn"),
        .encoder = {.dim = 128, .ffn_dim = 256, .n_layers = 4, .n_heads = 2}}},
      {"8B", {.decoder = llama3::flavors().at("8B_flex_attn"), .encoder = {}}},
  };
  return all;
}

}  // namespace coeus::vlm
