#include "coeus/base/config_schema.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <cmath>

#include "coeus/base/error.h"

namespace coeus {
namespace {

template <class... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};
template <class... Cases>
Overloaded(Cases...) -> Overloaded<Cases...>;

bool equal_any_case(const std::string& a, const std::string& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](unsigned char x, unsigned char y) {
    return std::tolower(x) == std::tolower(y);
  });
}

std::string list_quoted(const std::vector<std::string>& texts) {
  std::string out;
  for (const std::string& text : texts)
    out += fmt::format("{}\"{}\"", out.empty() ? "" : ", ", text);
  return out;
}

}  // namespace

std::string_view section_of(std::string_view key) {
  const std::size_t dot = key.rfind('.');
  return dot == std::string_view::npos ? std::string_view() : key.substr(0, dot);
}

std::string_view name_in_section(std::string_view key) { return key.substr(key.rfind('.') + 1); }

ConfigField& ConfigField::one_of(std::vector<std::string> values) {
  allowed_ = std::move(values);
  return *this;
}
ConfigField& ConfigField::one_of_any_case(std::vector<std::string> values) {
  any_case_ = true;
  return one_of(std::move(values));
}
ConfigField& ConfigField::at_least(double value) {
  at_least_ = value;
  return *this;
}
ConfigField& ConfigField::more_than(double value) {
  more_than_ = value;
  return *this;
}
ConfigField& ConfigField::at_most(double value) {
  at_most_ = value;
  return *this;
}
ConfigField& ConfigField::less_than(double value) {
  less_than_ = value;
  return *this;
}
ConfigField& ConfigField::or_value(double value) {
  or_value_ = value;
  return *this;
}
ConfigField& ConfigField::may_be_infinite() {
  may_be_infinite_ = true;
  return *this;
}
ConfigField& ConfigField::text_that(std::function<bool(const std::string&)> accepts,
                                    std::string expected) {
  accepts_ = std::move(accepts);
  accepts_expected_ = std::move(expected);
  return *this;
}
ConfigField& ConfigField::may_be_text() {
  may_be_text_ = true;
  return *this;
}
ConfigField& ConfigField::no_effect(std::string reason) {
  no_effect_reason_ = std::move(reason);
  return *this;
}

bool ConfigField::is_optional() const {
  return std::holds_alternative<std::optional<std::int64_t>*>(target_) ||
         std::holds_alternative<std::optional<double>*>(target_) ||
         std::holds_alternative<std::optional<std::string>*>(target_) ||
         std::holds_alternative<std::optional<std::vector<std::vector<std::string>>>*>(target_);
}

std::string ConfigField::type_name() const {
  return std::visit(
      Overloaded{
          [](bool*) { return "true or false"; }, [](std::int64_t*) { return "a whole number"; },
          [](std::optional<std::int64_t>*) { return "a whole number"; },
          [](double*) { return "a number"; }, [](std::optional<double>*) { return "a number"; },
          [](std::string*) { return "text"; }, [](std::optional<std::string>*) { return "text"; },
          [](std::vector<std::string>*) { return "a list of texts"; },
          [](std::optional<std::vector<std::vector<std::string>>>*) {
            return "a list of lists of texts";
          },
          [](std::map<std::string, std::string>*) { return "a table of texts"; },
          [](const ConfigTables&) { return "a list of tables"; }},
      target_);
}

std::string ConfigField::expected() const {
  if (!accepts_expected_.empty()) return accepts_expected_;
  if (!allowed_.empty()) {
    const bool is_list = std::holds_alternative<std::vector<std::string>*>(target_);
    return fmt::format("{} {}{}", is_list ? "a list of" : "one of", list_quoted(allowed_),
                       is_optional() ? " or None" : "");
  }
  std::vector<std::string> parts = {type_name()};
  if (at_least_) parts.push_back(fmt::format("at least {}", *at_least_));
  if (more_than_) parts.push_back(fmt::format("more than {}", *more_than_));
  if (at_most_) parts.push_back(fmt::format("at most {}", *at_most_));
  if (less_than_) parts.push_back(fmt::format("less than {}", *less_than_));
  if (or_value_) parts.push_back(fmt::format("or {}", *or_value_));
  return fmt::format("{}{}", fmt::join(parts, ", "), is_optional() ? " or None" : "");
}

bool ConfigField::in_range(double value) const {
  if (std::isnan(value)) return false;
  if (or_value_ && value == *or_value_) return true;
  if (std::isinf(value) && !may_be_infinite_) return false;
  return !(at_least_ && value < *at_least_) && !(more_than_ && value <= *more_than_) &&
         !(at_most_ && value > *at_most_) && !(less_than_ && value >= *less_than_);
}

bool ConfigField::accepts_text(const std::string& text) const {
  if (accepts_ && !accepts_(text)) return false;
  return allowed_.empty() || std::any_of(allowed_.begin(), allowed_.end(), [&](const auto& value) {
           return any_case_ ? equal_any_case(value, text) : value == text;
         });
}

bool ConfigField::is_valid() const {
  return std::visit(
      Overloaded{
          [&](std::int64_t* value) { return in_range(double(*value)); },
          [&](double* value) { return in_range(*value); },
          [&](std::optional<std::int64_t>* value) { return !*value || in_range(double(**value)); },
          [&](std::optional<double>* value) { return !*value || in_range(**value); },
          [&](std::string* value) { return accepts_text(*value); },
          [&](std::optional<std::string>* value) { return !*value || accepts_text(**value); },
          [&](std::vector<std::string>* value) {
            return std::all_of(value->begin(), value->end(),
                               [&](const auto& item) { return accepts_text(item); });
          },
          [](const auto&) { return true; }},
      target_);
}

void ConfigField::normalise() {
  if (!any_case_) return;
  if (std::string* const* text = std::get_if<std::string*>(&target_)) {
    for (const std::string& value : allowed_)
      if (equal_any_case(value, **text)) **text = value;
  }
}

ConfigSection ConfigSection::section(std::string_view name) const {
  return schema_.section(name_.empty() ? std::string(name) : fmt::format("{}.{}", name_, name));
}

ConfigField& ConfigSection::add(std::string_view name, ConfigTarget target, std::string meaning) {
  std::string key = name_.empty() ? std::string(name) : fmt::format("{}.{}", name_, name);
  COEUS_ASSERT(schema_.find(key) == nullptr);
  schema_.index_.emplace(key, schema_.fields_.size());
  return schema_.fields_.emplace_back(std::move(key), std::move(target), std::move(meaning));
}

ConfigSection ConfigSchema::section(std::string name) {
  // A section inside another makes its outer ones known too: "quantize" of "quantize.linear".
  for (std::size_t dot = name.find('.'); dot != std::string::npos; dot = name.find('.', dot + 1))
    if (!has_section(name.substr(0, dot))) sections_.push_back(name.substr(0, dot));
  if (!name.empty() && !has_section(name)) sections_.push_back(name);
  return ConfigSection(*this, std::move(name));
}

ConfigField* ConfigSchema::find(std::string_view key) {
  const auto found = index_.find(key);
  return found == index_.end() ? nullptr : &fields_[found->second];
}

const ConfigField* ConfigSchema::find(std::string_view key) const {
  const auto found = index_.find(key);
  return found == index_.end() ? nullptr : &fields_[found->second];
}

bool ConfigSchema::has_section(std::string_view name) const {
  return std::find(sections_.begin(), sections_.end(), name) != sections_.end();
}

std::vector<std::string> ConfigSchema::keys() const {
  std::vector<std::string> out;
  for (const ConfigField& field : fields_) out.push_back(field.key());
  return out;
}

std::vector<std::string> ConfigSchema::names_in(std::string_view section) const {
  std::vector<std::string> out;
  for (const ConfigField& field : fields_)
    if (section_of(field.key()) == section) out.emplace_back(name_in_section(field.key()));
  return out;
}

}  // namespace coeus
