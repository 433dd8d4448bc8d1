// What a configuration may hold: sections of fields, each bound to a member of a struct, with its
// meaning and its allowed values. Components describe their own section; only the top joins them.
//
//   void describe(OptimizerConfig& config, ConfigSection& section) {
//     section.field("lr", config.lr, "Learning rate at its peak.").at_least(0);
//   }
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace coeus {

class ConfigSchema;
class ConfigSection;

/// An array of tables: access to a vector of structs without knowing their type.
struct ConfigTables {
  std::function<std::size_t()> size;
  std::function<void(std::size_t)> resize;
  std::function<void(std::size_t, ConfigSection&)> describe;  ///< describes one element
};

/// The member that a field reads and writes. Optional members are unset by the value None.
using ConfigTarget =
    std::variant<bool*, std::int64_t*, double*, std::string*, std::optional<std::int64_t>*,
                 std::optional<double>*, std::optional<std::string>*, std::vector<std::string>*,
                 std::optional<std::vector<std::vector<std::string>>>*,
                 std::map<std::string, std::string>*, ConfigTables>;

/// Where a value came from.
struct ConfigSource {
  enum class Kind { kDefault, kFile, kFlag };
  Kind kind = Kind::kDefault;
  std::string place;  ///< "FILE:LINE" or the flag; empty for a default
  std::string to_string() const { return kind == Kind::kDefault ? "default" : place; }
};

/// One key: its target, meaning and allowed values. The setters return the field, to be chained.
class ConfigField {
 public:
  ConfigField(std::string key, ConfigTarget target, std::string meaning)
      : key_(std::move(key)), target_(std::move(target)), meaning_(std::move(meaning)) {}

  /// The value, or each item of a list, is one of these.
  ConfigField& one_of(std::vector<std::string> values);
  /// As one_of, in upper or lower case; the target gets the spelling of the list.
  ConfigField& one_of_any_case(std::vector<std::string> values);
  ConfigField& at_least(double value);
  ConfigField& more_than(double value);
  ConfigField& at_most(double value);
  ConfigField& less_than(double value);
  /// One value outside the range that is right too, such as -1 for "all".
  ConfigField& or_value(double value);
  /// Floating-point fields refuse infinity unless told so. NaN is always refused.
  ConfigField& may_be_infinite();
  /// A text value must satisfy `accepts`; `expected` completes "expected …".
  ConfigField& text_that(std::function<bool(const std::string&)> accepts, std::string expected);
  /// A list may also be given as one text of items separated by commas.
  ConfigField& may_be_text();
  /// Known and checked, but without an effect; `reason` is a sentence for the documentation.
  ConfigField& no_effect(std::string reason);

  const std::string& key() const { return key_; }
  const ConfigTarget& target() const { return target_; }
  const std::string& meaning() const { return meaning_; }
  const std::vector<std::string>& allowed() const { return allowed_; }
  bool takes_text_as_list() const { return may_be_text_; }
  const std::string& no_effect_reason() const { return no_effect_reason_; }
  bool is_switch() const { return std::holds_alternative<bool*>(target_); }
  bool is_optional() const;
  /// "a whole number", "a list of texts", …
  std::string type_name() const;

  /// What a right value is: "a whole number, at least 1", "one of \"full\", \"none\"".
  std::string expected() const;
  /// Whether the value that the target holds now is one of the allowed.
  bool is_valid() const;
  /// Respells the value as the list of one_of_any_case has it.
  void normalise();

  /// Where the value came from.
  ConfigSource source;

 private:
  bool in_range(double value) const;
  bool accepts_text(const std::string& text) const;

  std::string key_;
  ConfigTarget target_;
  std::string meaning_;
  std::vector<std::string> allowed_;
  bool any_case_ = false;
  std::optional<double> at_least_, more_than_, at_most_, less_than_, or_value_;
  bool may_be_infinite_ = false;
  std::function<bool(const std::string&)> accepts_;
  std::string accepts_expected_;
  bool may_be_text_ = false;
  std::string no_effect_reason_;
};

/// A view of one section, to which a component adds its fields.
class ConfigSection {
 public:
  ConfigSection(ConfigSchema& schema, std::string name) : schema_(schema), name_(std::move(name)) {}

  /// Adds the key `name`, bound to `member`, which must outlive the schema.
  template <class T>
  ConfigField& field(std::string_view name, T& member, const std::string& meaning) {
    return add(name, &member, meaning);
  }
  /// Adds an array of tables; `describe(T&, ConfigSection&)` must be declared for its elements.
  template <class T>
  ConfigField& tables(std::string_view name, std::vector<T>& member, std::string meaning) {
    return add(name,
               ConfigTables{[&member] { return member.size(); },
                            [&member](std::size_t n) { member.resize(n); },
                            [&member](std::size_t i, ConfigSection& s) { describe(member[i], s); }},
               std::move(meaning));
  }
  /// The section `name` inside this one.
  ConfigSection section(std::string_view name) const;

 private:
  ConfigField& add(std::string_view name, ConfigTarget target, std::string meaning);

  ConfigSchema& schema_;
  std::string name_;
};

/// All fields of a configuration, in the order they were described.
class ConfigSchema {
 public:
  /// Opens a section; its name may be empty for keys of no section.
  ConfigSection section(std::string name);

  const std::deque<ConfigField>& fields() const { return fields_; }
  std::deque<ConfigField>& fields() { return fields_; }
  /// The field of a full key ("optimizer.lr"), or null.
  ConfigField* find(std::string_view key);
  const ConfigField* find(std::string_view key) const;
  /// Whether there is a section of this name; "quantize" is one for "quantize.linear".
  bool has_section(std::string_view name) const;
  /// All sections, in order, and all full keys.
  const std::vector<std::string>& sections() const { return sections_; }
  std::vector<std::string> keys() const;
  /// The names of the keys that lie directly in `section`.
  std::vector<std::string> names_in(std::string_view section) const;

 private:
  friend class ConfigSection;
  std::deque<ConfigField> fields_;
  std::map<std::string, std::size_t, std::less<>> index_;
  std::vector<std::string> sections_;
};

/// A key's section ("quantize.linear.mx") and its last part.
std::string_view section_of(std::string_view key);
std::string_view name_in_section(std::string_view key);

}  // namespace coeus
