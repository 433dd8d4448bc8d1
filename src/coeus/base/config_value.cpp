#include "coeus/base/config_value.h"

#include <fmt/format.h>

#include <charconv>
#include <sstream>
#include <type_traits>

#include "coeus/base/config_text.h"

namespace coeus {
namespace {

using Lists = std::vector<std::vector<std::string>>;
using Texts = std::map<std::string, std::string>;

bool read_node(const toml::node& node, bool& out) {
  if (!node.is_boolean()) return false;
  out = node.as_boolean()->get();
  return true;
}

bool read_node(const toml::node& node, std::int64_t& out) {
  if (!node.is_integer()) return false;
  out = node.as_integer()->get();
  return true;
}

bool read_node(const toml::node& node, double& out) {
  if (node.is_integer()) {
    out = double(node.as_integer()->get());
    return true;
  }
  if (!node.is_floating_point()) return false;
  out = node.as_floating_point()->get();
  return true;
}

bool read_node(const toml::node& node, std::string& out) {
  if (!node.is_string()) return false;
  out = node.as_string()->get();
  return true;
}

template <class T>
bool read_node(const toml::node& node, std::vector<T>& out) {
  if (!node.is_array()) return false;
  std::vector<T> items;
  for (const toml::node& item : *node.as_array())
    if (!read_node(item, items.emplace_back())) return false;
  out = std::move(items);
  return true;
}

bool read_node(const toml::node& node, Texts& out) {
  if (!node.is_table()) return false;
  Texts texts;
  for (const auto& [name, item] : *node.as_table())
    if (!read_node(item, texts[std::string(name.str())])) return false;
  out = std::move(texts);
  return true;
}

template <class T>
bool read_node(const toml::node& node, std::optional<T>& out) {
  if (node.is_string() && node.as_string()->get() == "None") {
    out.reset();
    return true;
  }
  T value;
  if (!read_node(node, value)) return false;
  out = std::move(value);
  return true;
}

std::vector<std::string> split_at_commas(std::string_view text) {
  std::vector<std::string> items;
  if (text.empty()) return items;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    std::string_view item = text.substr(begin, end - begin);
    while (!item.empty() && item.front() == ' ') item.remove_prefix(1);
    while (!item.empty() && item.back() == ' ') item.remove_suffix(1);
    items.emplace_back(item);
    begin = end + 1;
  }
  return items;
}

template <class T>
bool read_number(std::string_view text, T& out) {
  if (text.starts_with('+')) text.remove_prefix(1);
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return false;
  out = value;
  return true;
}

bool read_text(std::string_view text, bool& out) {
  out = text == "true" || text == "True";
  return out || text == "false" || text == "False";
}
bool read_text(std::string_view text, std::int64_t& out) { return read_number(text, out); }
bool read_text(std::string_view text, double& out) { return read_number(text, out); }
bool read_text(std::string_view text, std::string& out) {
  out = text;
  return true;
}

template <class T>
bool read_toml_text(std::string_view text, T& out) {
  const toml::table parsed = parse_toml_value(text);
  const toml::node* node = parsed.get("value");
  return node != nullptr && read_node(*node, out);
}
bool read_text(std::string_view text, std::vector<std::string>& out) {
  if (text.starts_with('[')) return read_toml_text(text, out);
  out = split_at_commas(text);
  return true;
}
bool read_text(std::string_view text, Lists& out) { return read_toml_text(text, out); }
bool read_text(std::string_view text, Texts& out) { return read_toml_text(text, out); }

template <class T>
bool read_text(std::string_view text, std::optional<T>& out) {
  if (text == "None") {
    out.reset();
    return true;
  }
  T value;
  if (!read_text(text, value)) return false;
  out = std::move(value);
  return true;
}

/// Calls `read` on a copy of the field's value and keeps the copy if it is allowed.
template <class Read>
bool assign(ConfigField& field, const Read& read) {
  return std::visit(
      [&](const auto& target) {
        if constexpr (std::is_same_v<std::decay_t<decltype(target)>, ConfigTables>) {
          return false;
        } else {
          auto value = *target;
          if (!read(value)) return false;
          std::swap(*target, value);
          field.normalise();
          if (field.is_valid()) return true;
          std::swap(*target, value);
          return false;
        }
      },
      field.target());
}

bool assign_node(ConfigField& field, const toml::node& node) {
  if (field.takes_text_as_list() && node.is_string())
    return assign_text(field, node.as_string()->get());
  return assign(field, [&](auto& value) { return read_node(node, value); });
}

/// The place of a node inside a value that may go over several lines.
ConfigSource place_of(const toml::node& node, const ConfigSource& value_source) {
  if (value_source.kind != ConfigSource::Kind::kFile || !node.source().path) return value_source;
  return {value_source.kind, fmt::format("{}:{}", *node.source().path, node.source().begin.line)};
}

/// Sets one element, called `name`, of an array of tables from its table.
void set_element(const std::string& name, const ConfigTables& tables, std::size_t i,
                 const toml::table& table, const ConfigSource& source, ConfigMistakes& mistakes) {
  ConfigSchema element;
  ConfigSection section = element.section(name);
  tables.describe(i, section);
  for (const auto& [key, node] : table) {
    const std::string full_key = fmt::format("{}.{}", name, key.str());
    if (ConfigField* field = element.find(full_key))
      set_field(*field, node, source, mistakes);
    else
      mistakes.push_back(
          fmt::format("{}: unknown key {}{}", source.place, full_key, key_hint(element, full_key)));
  }
  for (const ConfigField& field : element.fields())
    if (!field.is_valid() && !table.contains(name_in_section(field.key())))
      mistakes.push_back(
          fmt::format("{}: lacks {}: expected {}", source.place, field.key(), field.expected()));
}

bool set_tables(ConfigField& field, const toml::node& node, const ConfigSource& source,
                ConfigMistakes& mistakes) {
  const toml::array* array = node.as_array();
  if (array == nullptr) return false;
  for (const toml::node& item : *array)
    if (!item.is_table()) return false;
  const ConfigTables& tables = std::get<ConfigTables>(field.target());
  tables.resize(0);
  tables.resize(array->size());
  for (std::size_t i = 0; i < array->size(); ++i)
    set_element(fmt::format("{}[{}]", field.key(), i), tables, i, *(*array)[i].as_table(),
                place_of((*array)[i], source), mistakes);
  return true;
}

}  // namespace

void set_field(ConfigField& field, const toml::node& node, const ConfigSource& source,
               ConfigMistakes& mistakes) {
  const bool is_tables = std::holds_alternative<ConfigTables>(field.target());
  if (is_tables ? set_tables(field, node, source, mistakes) : assign_node(field, node))
    field.source = source;
  else
    mistakes.push_back(fmt::format("{}: {} = {}: expected {}", source.place, field.key(),
                                   node_to_text(node), field.expected()));
}

bool assign_text(ConfigField& field, std::string_view text) {
  return assign(field, [&](auto& value) { return read_text(text, value); });
}

toml::table parse_toml_value(std::string_view text) {
  try {
    return toml::parse(std::string("value = ") + std::string(text));
  } catch (const toml::parse_error&) {
    return {};
  }
}

std::string node_to_text(const toml::node& node) {
  if (node.is_table()) return "a table";
  if (node.is_string()) return quote_toml(node.as_string()->get());
  std::ostringstream out;
  node.visit([&](const auto& typed) { out << typed; });
  std::string text = out.str();
  constexpr std::size_t kLongest = 100;
  if (text.size() > kLongest) text = text.substr(0, kLongest) + "…";
  for (char& c : text)
    if (c == '\n') c = ' ';
  return text;
}

}  // namespace coeus
