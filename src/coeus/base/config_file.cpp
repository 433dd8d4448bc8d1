#include "coeus/base/config_file.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>
#include <vector>

#include "coeus/base/config_value.h"
#include "coeus/base/nearest_name.h"

namespace coeus {
namespace {

class FileReading {
 public:
  FileReading(ConfigSchema& schema, const std::string& file) : schema_(schema), file_(file) {}

  void read_section(const toml::table& table, const std::string& section) {
    for (const auto& [name, node] : table) {
      const std::string key =
          section.empty() ? std::string(name.str()) : fmt::format("{}.{}", section, name.str());
      if (schema_.has_section(key) && node.is_table())
        read_section(*node.as_table(), key);
      else
        read_key(key, node, name.source().begin.line);
    }
  }

  /// In the order of the file's lines, which is not that of TOML's tables.
  ConfigMistakes mistakes() {
    std::stable_sort(mistakes_.begin(), mistakes_.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    ConfigMistakes out;
    for (auto& [line, mistake] : mistakes_) out.push_back(std::move(mistake));
    return out;
  }

 private:
  void read_key(const std::string& key, const toml::node& node, std::size_t line) {
    const std::string place = fmt::format("{}:{}", file_, line);
    ConfigMistakes found;
    if (ConfigField* field = schema_.find(key))
      set_field(*field, node, {ConfigSource::Kind::kFile, place}, found);
    else if (schema_.has_section(key))
      found.push_back(fmt::format("{}: {} = {}: expected a section, [{}]", place, key,
                                  node_to_text(node), key));
    else if (node.is_table())
      found.push_back(fmt::format("{}: unknown section [{}]{}", place, key, section_hint(key)));
    else
      found.push_back(fmt::format("{}: unknown key {}{}", place, key, key_hint(schema_, key)));
    for (std::string& mistake : found) mistakes_.emplace_back(line, std::move(mistake));
  }

  std::string section_hint(const std::string& section) const {
    if (const auto nearest = nearest_name(section, schema_.sections()))
      return fmt::format("; did you mean [{}]?", *nearest);
    return key_hint(schema_, section);
  }

  ConfigSchema& schema_;
  const std::string& file_;
  std::vector<std::pair<std::size_t, std::string>> mistakes_;
};

}  // namespace

void read_config_file(ConfigSchema& schema, const std::string& path, ConfigMistakes& mistakes) {
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  std::error_code ignored;
  if (in && std::filesystem::is_directory(path, ignored)) {
    errno = EISDIR;
  } else if (in) {
    if (in.peek() != std::ifstream::traits_type::eof()) text << in.rdbuf();
    if (!in.bad()) return read_config_toml(schema, text.str(), path, mistakes);
  }
  mistakes.push_back(
      fmt::format("{}: cannot read the configuration file: {}", path, std::strerror(errno)));
}

void read_config_toml(ConfigSchema& schema, std::string_view text, const std::string& file,
                      ConfigMistakes& mistakes) {
  try {
    const toml::table table = toml::parse(text, file);
    FileReading reading(schema, file);
    reading.read_section(table, "");
    for (std::string& mistake : reading.mistakes()) mistakes.push_back(std::move(mistake));
  } catch (const toml::parse_error& error) {
    mistakes.push_back(fmt::format("{}:{}:{}: not TOML: {}", file, error.source().begin.line,
                                   error.source().begin.column, error.description()));
  }
}

}  // namespace coeus
