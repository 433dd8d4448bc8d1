#include "coeus/base/config_mistakes.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "coeus/base/nearest_name.h"

namespace coeus {

std::string join_mistakes(const ConfigMistakes& mistakes) {
  if (mistakes.size() == 1) return mistakes.front();
  return fmt::format("{} mistakes in the configuration:\n  {}", mistakes.size(),
                     fmt::join(mistakes, "\n  "));
}

std::string key_hint(const ConfigSchema& schema, std::string_view unknown_key,
                     std::string_view before_key) {
  if (const auto nearest = nearest_key(unknown_key, schema.keys()))
    return fmt::format("; did you mean {}{}?", before_key, *nearest);
  const std::string_view section = section_of(unknown_key);
  const auto names = schema.names_in(section);
  if (!names.empty()) return fmt::format("; [{}] has: {}", section, fmt::join(names, ", "));
  return fmt::format("; the sections are: {}", fmt::join(schema.sections(), ", "));
}

}  // namespace coeus
