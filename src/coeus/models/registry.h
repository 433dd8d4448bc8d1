// The models by name.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "coeus/checkpoint/hugging_face_folder.h"
#include "coeus/mask/mask.h"
#include "coeus/models/model.h"
#include "coeus/nn/moe/moe_config.h"
#include "coeus/ops/attention.h"

namespace coeus {

struct ModelParallel;

/// The flavour that takes its sizes from a config.json of Hugging Face's.
inline constexpr const char* kFromHuggingFace = "from_hf";

/// What to build.
struct ModelOptions {
  std::string name;    ///< "llama3"
  std::string flavor;  ///< "debugmodel", or kFromHuggingFace
  /// The folder whose config.json holds the sizes, for kFromHuggingFace.
  std::filesystem::path hugging_face_folder;
  int64_t seq_len = 0;  ///< the longest row; rotary positions lie below it
  /// The length of the rows that the model is trained on, where that is not seq_len: it decides
  /// whether deepseek_v3 stretches its positions.
  std::optional<int64_t> training_seq_len;
  /// Expressions that replace the flavour's masks: `mask` the only one, `masks` by name.
  std::optional<std::string> mask;
  std::map<std::string, std::string> masks;
  AttentionEngine engine = AttentionEngine::kAuto;
  /// What the run changes of the flavour's mixture-of-experts layers.
  MoEConfig moe;
  bool force_load_balance = false;  ///< see MoEOptions
  /// How many further tokens deepseek_v3 learns to predict (multi-token prediction); the other
  /// models refuse more than 0.
  int64_t num_mtp_layers = 0;
  /// Where and in which dtype parameters are allocated; they are not initialised. The device "meta"
  /// allocates nothing.
  at::TensorOptions tensors;
};

/// Throws ConfigError for an unknown name or flavour (naming those there are), a mask that the
/// model does not have, or an expression that does not parse.
std::shared_ptr<Model> build_model(const ModelOptions& options);

/// What there is to know of a family of models by its name.
struct ModelFamily {
  std::function<std::shared_ptr<Model>(const ModelOptions&)> build;
  std::vector<std::string> flavors;
  /// A flavour's names and config.json, for a family that is registered; may be empty.
  std::function<HuggingFaceFormat(const std::string& flavor)> hugging_face = {};
  /// Spreads one of its models over ranks, as coeus::parallelize asks; without it, layers cannot be
  /// split.
  std::function<void(Model& model, ModelParallel& parallel)> parallelize = {};
};

/// Makes a family known to build_model that is not one of coeus's own. Throws Error for a name that
/// is taken. Not to be called while another thread builds a model.
void register_model(const std::string& name, ModelFamily family);

/// Null for a name that there is not.
const ModelFamily* find_family(const std::string& name);

/// Puts a run's mask expressions in the place of a flavour's: options.mask that of a flavour with
/// one, options.masks by name. Throws ConfigError for a mask that there is not.
void replace_masks(const ModelOptions& options, std::map<std::string, Mask>& masks);

/// The names that ModelOptions takes; no flavours for an unknown model.
std::vector<std::string> model_names();
std::vector<std::string> flavor_names(const std::string& model);

}  // namespace coeus
