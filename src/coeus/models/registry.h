// The models by name.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "coeus/mask/mask.h"
#include "coeus/models/model.h"
#include "coeus/ops/attention.h"

namespace coeus {

/// What to build.
struct ModelOptions {
  std::string name;     ///< "llama3"
  std::string flavor;   ///< "debugmodel"
  int64_t seq_len = 0;  ///< the longest row; rotary positions lie below it
  /// Expressions that replace the flavour's masks: `mask` the only one, `masks` by name.
  std::optional<std::string> mask;
  std::map<std::string, std::string> masks;
  AttentionEngine engine = AttentionEngine::kAuto;
  /// Where and in which dtype parameters are allocated; they are not initialised. The device "meta"
  /// allocates nothing.
  at::TensorOptions tensors;
};

/// Throws ConfigError for an unknown name or flavour (naming those there are), a mask that the
/// model does not have, or an expression that does not parse.
std::shared_ptr<Model> build_model(const ModelOptions& options);

/// The names that ModelOptions takes; no flavours for an unknown model.
std::vector<std::string> model_names();
std::vector<std::string> flavor_names(const std::string& model);

}  // namespace coeus
