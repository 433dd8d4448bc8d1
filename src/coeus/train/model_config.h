// The sections that name the model and what is done to it: [model], [compile] and [quantize].
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace coeus {

class ConfigSection;

/// [model].
struct ModelConfig {
  std::string name = "llama3";
  std::string flavor = "debugmodel";
  std::string hf_assets_path = "./tests/assets/tokenizer";  ///< folder of tokenizer.json
  std::optional<std::string> tokenizer_path;                ///< older name of hf_assets_path
  std::vector<std::string> converters;
  bool print_after_conversion = false;
  int64_t num_mtp_layers = 0;                ///< further tokens that deepseek_v3 learns to predict
  std::string mask;                          ///< replaces the flavour's only mask; empty: its own
  std::map<std::string, std::string> masks;  ///< the same by name, for models with several
  bool show_masks = false;                   ///< print the first batch's masks
  bool operator==(const ModelConfig&) const = default;
};

/// [compile]. Nothing needs compiling: accepted so that TorchTitan's files run.
struct CompileConfig {
  bool enable = false;
  std::vector<std::string> components = {"model", "loss"};
  std::string backend = "inductor";
  bool operator==(const CompileConfig&) const = default;
};

/// [quantize.linear.float8].
struct Float8LinearConfig {
  bool enable_fsdp_float8_all_gather = false;
  bool precompute_float8_dynamic_scale_for_fsdp = false;
  std::optional<std::string> recipe_name;  ///< "tensorwise", "rowwise" or "rowwise_with_gw_hp"
  std::vector<std::string> filter_fqns;
  bool emulate = false;
  bool operator==(const Float8LinearConfig&) const = default;
};

/// [quantize.linear.mx].
struct MxLinearConfig {
  std::string mxfp8_dim1_cast_kernel_choice = "triton";  ///< "triton", "cuda" or "torch"
  std::string recipe_name = "mxfp8_cublas";
  std::vector<std::string> filter_fqns = {"output"};
  bool operator==(const MxLinearConfig&) const = default;
};

/// [quantize.grouped_mm.float8].
struct Float8GroupedMmConfig {
  std::vector<std::string> fqns;
  bool operator==(const Float8GroupedMmConfig&) const = default;
};

/// [quantize.grouped_mm.mx].
struct MxGroupedMmConfig {
  std::string recipe_name = "mxfp8";
  std::vector<std::string> fqns;
  bool operator==(const MxGroupedMmConfig&) const = default;
};

/// [quantize.linear].
struct QuantizedLinearConfig {
  Float8LinearConfig float8;
  MxLinearConfig mx;
  bool operator==(const QuantizedLinearConfig&) const = default;
};

/// [quantize.grouped_mm].
struct QuantizedGroupedMmConfig {
  Float8GroupedMmConfig float8;
  MxGroupedMmConfig mx;
  bool operator==(const QuantizedGroupedMmConfig&) const = default;
};

/// [quantize]. Takes effect for the converters that model.converters names.
struct QuantizeConfig {
  QuantizedLinearConfig linear;
  QuantizedGroupedMmConfig grouped_mm;
  bool operator==(const QuantizeConfig&) const = default;
};

/// Name the sections' keys, their meaning and their allowed values to the configuration reader.
void describe(ModelConfig& config, ConfigSection& section);
void describe(CompileConfig& config, ConfigSection& section);
void describe(QuantizeConfig& config, ConfigSection& section);

}  // namespace coeus
