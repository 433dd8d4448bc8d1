#include "coeus/parallel/pipeline/stage_split.h"

#include <algorithm>

#include "coeus/base/error.h"

namespace coeus {

namespace {

bool is_layer(const std::string& module) { return module.starts_with("layers."); }

}  // namespace

int64_t layer_count(const std::vector<std::string>& modules) {
  return std::count_if(modules.begin(), modules.end(), is_layer);
}

StageModules split_into_stages(const std::vector<std::string>& modules, int64_t stages,
                               int64_t input_weight, int64_t output_weight) {
  COEUS_CHECK(stages >= 1 && input_weight >= 0 && output_weight >= 0,
              "[split_into_stages] there must be a stage and no negative weight, got {} stages, "
              "weights {} and {}",
              stages, input_weight, output_weight);
  if (stages == 1) return {modules};
  const int64_t layers = layer_count(modules);
  const int64_t all = layers + input_weight + output_weight;
  const int64_t least = all / stages, larger = all % stages;
  COEUS_CHECK_CONFIG(
      least >= 1 && input_weight <= least && output_weight <= least,
      "{} layers, of which parallelism.pipeline_parallel_first_stage_less_layers = {} and "
      "pipeline_parallel_last_stage_less_layers = {} more stand for embedding and output, do not "
      "make {} pipeline stages: each would have {}, and neither of the two may be larger; make "
      "fewer stages or name them in parallelism.module_fqns_per_model_part",
      layers, input_weight, output_weight, stages, least);
  StageModules split(stages);
  auto module = modules.begin();
  while (module != modules.end() && !is_layer(*module)) split.front().push_back(*module++);
  for (int64_t stage = 0; stage < stages; ++stage) {
    int64_t count = least + (stage < larger ? 1 : 0);
    if (stage == 0) count -= input_weight;
    if (stage == stages - 1) count -= output_weight;
    for (; count > 0; --count) split[stage].push_back(*module++);
  }
  while (module != modules.end()) split.back().push_back(*module++);
  return split;
}

void check_stage_modules(const StageModules& stages, const std::vector<std::string>& modules) {
  constexpr const char* kKey = "parallelism.module_fqns_per_model_part";
  auto next = modules.begin();
  for (size_t stage = 0; stage < stages.size(); ++stage) {
    COEUS_CHECK_CONFIG(!stages[stage].empty(), "{}: stage {} has no module", kKey, stage);
    for (const std::string& name : stages[stage]) {
      COEUS_CHECK_CONFIG(std::find(modules.begin(), modules.end(), name) != modules.end(),
                         "{}: the model has no module \"{}\" (stage {}); it has {}", kKey, name,
                         stage, fmt::join(modules, ", "));
      COEUS_CHECK_CONFIG(next != modules.end() && *next == name,
                         "{}: \"{}\" of stage {} stands where {} must: every module once, in the "
                         "model's order",
                         kKey, name, stage,
                         next == modules.end() ? "nothing more" : fmt::format("\"{}\"", *next));
      ++next;
    }
  }
  COEUS_CHECK_CONFIG(next == modules.end(), "{}: no stage has \"{}\"", kKey, *next);
}

}  // namespace coeus
