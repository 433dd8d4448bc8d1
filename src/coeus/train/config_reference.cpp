#include "coeus/train/config_reference.h"

#include <fmt/format.h>

#include <algorithm>

#include "coeus/base/config_print.h"
#include "coeus/train/job_config.h"
#include "coeus/train/unsupported_features.h"

namespace coeus {
namespace {

constexpr const char* kIntroduction = R"(# Configuration

<!-- Written by `coeus config --reference`; a test fails when this file differs from what it prints. -->

A run is configured by a TOML file and by flags. Sections, keys and defaults are those of TorchTitan
in October 2025 (its default of job.dump_folder aside), with a few keys of coeus's own; its files run
unchanged where coeus has the feature.

    coeus train configs/llama3/debug_model.toml --training.steps=100 --checkpoint.enable
    coeus config configs/llama3/debug_model.toml --training.steps=100

`coeus config` prints the whole configuration as a TOML file, each value with where it came from.

- A flag wins over the file, the file over the default. The last of equal flags wins.
- `--section.key value` and `--section.key=value` set a value. Keys that are true or false are set by
  `--section.key` and `--section.no_key`, too. `-` may stand for `_` in a flag's name.
- A list is given to a flag as `a,b,c`, or as in TOML: `'["a", "b"]'`. Tables are given as in TOML.
- `None` unsets a key whose default is None, in a flag and, in quotes, in a file.
- A whole number may stand for any number; nothing else is converted.
- `--job.config_file=X` names the file like the argument `X`. Without a file, everything that no flag
  sets has its default.
- An unknown section or key, a value of the wrong type or out of range, and values that contradict
  each other are errors, told all at once with file, line and the key that was probably meant, and
  with exit code 2. Nothing is ignored silently.
- A key of TorchTitan's whose feature coeus lacks is accepted as long as its value does not ask for
  the feature, and refused as "not supported yet" otherwise. The column *state* says when.
)";

bool counts_only_for(const ConfigField& field, const UnsupportedFeature& feature) {
  return field.key() != feature.key &&
         std::any_of(feature.also.begin(), feature.also.end(), [&](std::string_view key) {
           return key.ends_with('.') ? field.key().starts_with(key) : field.key() == key;
         });
}

/// What the column "state" says.
std::string state_of(const ConfigField& field) {
  std::string refused;
  for (const UnsupportedFeature& feature : unsupported_features()) {
    if (feature.key == field.key())
      refused += fmt::format("{} {}", refused.empty() ? "refused" : " or", feature.when);
    if (counts_only_for(field, feature))
      return fmt::format("accepted; only for {}, not supported yet", feature.feature);
  }
  if (!refused.empty()) return refused;
  if (!field.no_effect_reason().empty())
    return fmt::format("accepted, without effect: {}", field.no_effect_reason());
  return "works";
}

}  // namespace

std::string config_reference() {
  JobConfig defaults;
  ConfigSchema schema;
  describe(defaults, schema);
  return kIntroduction + print_reference(schema, state_of);
}

}  // namespace coeus
