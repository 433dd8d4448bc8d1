// Which modules each pipeline stage holds.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace coeus {

/// For each stage the names of its modules, in order: "tok_embeddings", "layers.0", …, "norm",
/// "output".
using StageModules = std::vector<std::vector<std::string>>;

/// Cuts a model into `stages` parts as TorchTitan does (generate_llm_fqn_per_model_part).
/// `modules`: all of the model's names in order, layers ("layers.N") in the middle. What stands
/// before them counts for `input_weight` layers and what stands after for `output_weight`; then
/// stages are equally large, the first ones one layer larger where they must differ. Throws
/// ConfigError with the numbers when some stage would get nothing.
StageModules split_into_stages(const std::vector<std::string>& modules, int64_t stages,
                               int64_t input_weight, int64_t output_weight);

/// Checks a user's own split: every module exactly once and in order, no stage empty. Throws
/// ConfigError naming the module or stage.
void check_stage_modules(const StageModules& stages, const std::vector<std::string>& modules);

/// How many of the names are layers.
int64_t layer_count(const std::vector<std::string>& modules);

}  // namespace coeus
