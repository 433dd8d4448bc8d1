#include "coeus/base/config_text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <type_traits>

namespace coeus {
namespace {

std::string list_to_toml(const std::vector<std::string>& texts) {
  std::vector<std::string> quoted;
  for (const std::string& text : texts) quoted.push_back(quote_toml(text));
  return fmt::format("[{}]", fmt::join(quoted, ", "));
}

std::string tables_to_toml(const ConfigTables& tables) {
  std::vector<std::string> rows;
  for (std::size_t i = 0; i < tables.size(); ++i) {
    ConfigSchema element;
    ConfigSection section = element.section("");
    tables.describe(i, section);
    std::vector<std::string> cells;
    for (const ConfigField& field : element.fields()) {
      const std::string value = field_to_toml(field);
      if (!value.empty()) cells.push_back(fmt::format("{} = {}", field.key(), value));
    }
    rows.push_back(fmt::format("{{{}}}", fmt::join(cells, ", ")));
  }
  return fmt::format("[{}]", fmt::join(rows, ", "));
}

std::string value_to_toml(bool value) { return value ? "true" : "false"; }
std::string value_to_toml(std::int64_t value) { return fmt::format("{}", value); }
std::string value_to_toml(double value) { return float_to_toml(value); }
std::string value_to_toml(const std::string& value) { return quote_toml(value); }
std::string value_to_toml(const std::vector<std::string>& value) { return list_to_toml(value); }

std::string value_to_toml(const std::vector<std::vector<std::string>>& value) {
  std::vector<std::string> lists;
  for (const auto& list : value) lists.push_back(list_to_toml(list));
  return fmt::format("[{}]", fmt::join(lists, ", "));
}

std::string value_to_toml(const std::map<std::string, std::string>& value) {
  std::vector<std::string> cells;
  for (const auto& [name, text] : value)
    cells.push_back(fmt::format("{} = {}", quote_toml(name), quote_toml(text)));
  return fmt::format("{{{}}}", fmt::join(cells, ", "));
}

template <class T>
std::string value_to_toml(const std::optional<T>& value) {
  return value ? value_to_toml(*value) : std::string();
}

}  // namespace

std::string quote_toml(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\r':
        out += "\\r";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
          out += fmt::format("\\u{:04X}", static_cast<unsigned>(c));
        else
          out += c;
    }
  }
  return out + '"';
}

std::string float_to_toml(double value) {
  std::string text = fmt::format("{}", value);
  // Without a point or an exponent it would read back as a whole number.
  return text.find_first_of(".en") == std::string::npos ? text + ".0" : text;
}

std::string field_to_toml(const ConfigField& field) {
  return std::visit(
      [](const auto& target) {
        if constexpr (std::is_same_v<std::decay_t<decltype(target)>, ConfigTables>)
          return tables_to_toml(target);
        else
          return value_to_toml(*target);
      },
      field.target());
}

}  // namespace coeus
