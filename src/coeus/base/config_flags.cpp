#include "coeus/base/config_flags.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "coeus/base/config_value.h"
#include "coeus/base/nearest_name.h"

namespace coeus {
namespace {

bool is_flag(const std::string& argument) { return argument.starts_with("--"); }

bool is_truth_value(const std::string& text) {
  return text == "true" || text == "false" || text == "True" || text == "False";
}

std::string with_underscores(std::string key) {
  std::replace(key.begin(), key.end(), '-', '_');
  return key;
}

/// "checkpoint.enable" of "checkpoint.no_enable", if that is true or false.
std::optional<std::string> negated_key(const ConfigSchema& schema, const std::string& key) {
  const std::string_view name = name_in_section(key);
  if (!name.starts_with("no_")) return std::nullopt;
  std::string positive = fmt::format("{}.{}", section_of(key), name.substr(3));
  const ConfigField* field = schema.find(positive);
  return field != nullptr && field->is_switch() ? std::optional(positive) : std::nullopt;
}

/// The table of texts that "model.masks.rope" is an entry of.
ConfigField* table_of_entry(ConfigSchema& schema, const std::string& key) {
  ConfigField* field = schema.find(section_of(key));
  return field != nullptr &&
                 std::holds_alternative<std::map<std::string, std::string>*>(field->target())
             ? field
             : nullptr;
}

class ArgumentParsing {
 public:
  ArgumentParsing(const ConfigSchema& schema, const std::vector<std::string>& arguments,
                  ConfigMistakes& mistakes)
      : schema_(schema), arguments_(arguments), mistakes_(mistakes) {}

  ConfigArguments parse() {
    while (next_ < arguments_.size()) {
      const std::string& argument = arguments_[next_++];
      if (is_flag(argument))
        parse_flag(argument);
      else
        out_.others.push_back(argument);
    }
    return std::move(out_);
  }

 private:
  void parse_flag(const std::string& argument) {
    const std::size_t equals = argument.find('=');
    const std::string spelled = argument.substr(0, equals);
    const std::string key = with_underscores(spelled.substr(2));
    std::optional<std::string> text;
    if (equals != std::string::npos) text = argument.substr(equals + 1);

    const ConfigField* field = schema_.find(key);
    if (field == nullptr) field = table_of_entry(const_cast<ConfigSchema&>(schema_), key);
    if (field != nullptr) {
      if (!text) text = take_value(*field);
      if (text)
        out_.flags.push_back({key, *text, spelled});
      else
        mistakes_.push_back(
            fmt::format("{}: needs a value: expected {}", spelled, field->expected()));
    } else if (const auto positive = negated_key(schema_, key)) {
      if (text)
        mistakes_.push_back(fmt::format("{}: takes no value: use --{}={} or {}", argument,
                                        *positive, *text, spelled));
      else
        out_.flags.push_back({*positive, "false", spelled});
    } else {
      mistakes_.push_back(fmt::format("{}: unknown flag{}", spelled, flag_hint(key)));
      if (!text) skip_value_of_unknown(key);
    }
  }

  std::string flag_hint(const std::string& key) const {
    if (name_in_section(key).starts_with("no_")) {
      const auto positive = nearest_key(
          fmt::format("{}.{}", section_of(key), name_in_section(key).substr(3)), schema_.keys());
      if (positive && schema_.find(*positive)->is_switch())
        return fmt::format("; did you mean --{}.no_{}?", section_of(*positive),
                           name_in_section(*positive));
    }
    return key_hint(schema_, key, "--");
  }

  bool has_value() const { return next_ < arguments_.size() && !is_flag(arguments_[next_]); }

  std::optional<std::string> take_value(const ConfigField& field) {
    if (field.is_switch())
      return has_value() && is_truth_value(arguments_[next_]) ? arguments_[next_++] : "true";
    if (!has_value()) return std::nullopt;
    std::string text = arguments_[next_++];
    // A list of known words may go on in further arguments: --compile.components model loss.
    if (std::holds_alternative<std::vector<std::string>*>(field.target()))
      while (has_value() &&
             std::count(field.allowed().begin(), field.allowed().end(), arguments_[next_]) > 0)
        text += "," + arguments_[next_++];
    return text;
  }

  /// The argument after an unknown flag is most likely its value, and no mistake of its own.
  void skip_value_of_unknown(const std::string& key) {
    const auto nearest = nearest_key(key, schema_.keys());
    const bool is_switch = nearest && schema_.find(*nearest)->is_switch();
    if (has_value() && (!is_switch || is_truth_value(arguments_[next_]))) ++next_;
  }

  const ConfigSchema& schema_;
  const std::vector<std::string>& arguments_;
  ConfigMistakes& mistakes_;
  ConfigArguments out_;
  std::size_t next_ = 0;
};

bool set_tables(ConfigField& field, const ConfigFlag& flag, ConfigMistakes& mistakes) {
  const toml::table parsed = parse_toml_value(flag.text);
  const toml::node* node = parsed.get("value");
  if (node == nullptr) return false;
  set_field(field, *node, {ConfigSource::Kind::kFlag, flag.spelled}, mistakes);
  return true;
}

}  // namespace

ConfigArguments parse_config_arguments(const ConfigSchema& schema,
                                       const std::vector<std::string>& arguments,
                                       ConfigMistakes& mistakes) {
  return ArgumentParsing(schema, arguments, mistakes).parse();
}

void read_config_flags(ConfigSchema& schema, const std::vector<ConfigFlag>& flags,
                       ConfigMistakes& mistakes) {
  for (const ConfigFlag& flag : flags) {
    ConfigField* field = schema.find(flag.key);
    bool taken = false;
    if (field == nullptr) {
      field = table_of_entry(schema, flag.key);
      auto& entries = *std::get<std::map<std::string, std::string>*>(field->target());
      entries[std::string(name_in_section(flag.key))] = flag.text;
      taken = true;
    } else if (std::holds_alternative<ConfigTables>(field->target())) {
      taken = set_tables(*field, flag, mistakes);
    } else {
      taken = assign_text(*field, flag.text);
    }
    if (taken)
      field->source = {ConfigSource::Kind::kFlag, flag.spelled};
    else
      mistakes.push_back(
          fmt::format("{}={}: expected {}", flag.spelled, flag.text, field->expected()));
  }
}

}  // namespace coeus
