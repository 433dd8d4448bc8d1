#include "coeus/parallel/activation_checkpoint_config.h"

#include <algorithm>
#include <string_view>

#include "coeus/base/config_schema.h"

namespace coeus {
namespace {

bool is_op_or_every_nth(const std::string& text) {
  if (text == "op") return true;
  constexpr std::size_t kMostDigits = 9;
  return !text.empty() && text.size() <= kMostDigits && text.front() != '0' &&
         text.find_first_not_of("0123456789") == std::string::npos;
}

}  // namespace

void describe(ActivationCheckpointConfig& config, ConfigSection& section) {
  section
      .field("mode", config.mode,
             "Which activations are computed again in the backward pass instead of being kept.")
      .one_of({"none", "selective", "full", "memory_budget"});
  section
      .field("selective_ac_option", config.selective_ac_option,
             "For selective: every n-th layer, or by operation.")
      .text_that(is_op_or_every_nth, "text, \"op\" or a whole number from 1 such as \"2\"");
  section.field("per_op_sac_force_recompute_mm_shapes_by_fqns",
                config.per_op_sac_force_recompute_mm_shapes_by_fqns,
                "For selective by operation: modules whose products are always computed again.");
  section
      .field("early_stop", config.early_stop,
             "End a recomputation once everything the backward pass needs is there again.")
      .no_effect("a recomputation always runs to its end");
  section
      .field("memory_budget", config.memory_budget,
             "For memory_budget: 0 keeps as little as full does, 1 everything.")
      .at_least(0)
      .at_most(1);
  section.field("visualize_memory_budget_pareto", config.visualize_memory_budget_pareto,
                "For memory_budget: draw time against memory for all budgets.");
}

}  // namespace coeus
