#include "coeus/base/config_print.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "coeus/base/config_text.h"

namespace coeus {
namespace {

std::string assignment(const ConfigField& field) {
  const std::string value = field_to_toml(field);
  const std::string name(name_in_section(field.key()));
  return value.empty() ? fmt::format("# {} is not set", name) : fmt::format("{} = {}", name, value);
}

std::string cell(std::string text) {
  for (std::size_t bar = text.find('|'); bar != std::string::npos; bar = text.find('|', bar + 2))
    text.replace(bar, 1, "\\|");
  return text;
}

/// Calls `begin` before the first field of each section, and `each` for every field.
template <class Begin, class Each>
void for_each_section(const ConfigSchema& schema, const Begin& begin, const Each& each) {
  std::string_view section;
  for (const ConfigField& field : schema.fields()) {
    if (section_of(field.key()) != section) begin(section = section_of(field.key()));
    each(field);
  }
}

}  // namespace

std::string print_effective_toml(const ConfigSchema& schema) {
  std::size_t width = 0;
  constexpr std::size_t kWidest = 48;
  for (const ConfigField& field : schema.fields()) {
    const std::size_t size = assignment(field).size();
    if (size <= kWidest) width = std::max(width, size);
  }
  std::string out;
  for_each_section(
      schema,
      [&](std::string_view name) { out += fmt::format("{}[{}]\n", out.empty() ? "" : "\n", name); },
      [&](const ConfigField& field) {
        out += fmt::format("{:<{}}  # {}\n", assignment(field), width, field.source.to_string());
      });
  return out;
}

std::string print_reference(const ConfigSchema& schema,
                            const std::function<std::string(const ConfigField&)>& state) {
  std::string out;
  for_each_section(
      schema,
      [&](std::string_view name) {
        out += fmt::format(
            "\n## [{}]\n\n| key | takes | default | meaning | state |\n|---|---|---|---|---|\n",
            name);
      },
      [&](const ConfigField& field) {
        const std::string value = field_to_toml(field);
        out += fmt::format("| `{}` | {} | {} | {} | {} |\n", name_in_section(field.key()),
                           cell(field.expected()), value.empty() ? "None" : "`" + cell(value) + "`",
                           cell(field.meaning()), cell(state(field)));
      });
  return out;
}

}  // namespace coeus
