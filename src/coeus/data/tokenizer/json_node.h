// Reading a tokenizer's JSON so that every complaint names the file and the place in it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace coeus {

/// The document in `path`; nlohmann::ordered_json keeps the order of members, slowly. Throws
/// DataError when it cannot be read or is not JSON.
template <class Json = nlohmann::json>
Json read_json_file(const std::filesystem::path& path);

/// A value of a JSON file that knows where it stands. All accessors throw DataError that names file
/// and place when the value is missing or of another type. Refers to the document: keep that alive.
class JsonNode {
 public:
  JsonNode(const nlohmann::json& value, std::string file, std::string where = "")
      : value_(&value), file_(std::move(file)), where_(std::move(where)) {}

  const nlohmann::json& value() const { return *value_; }
  bool is_null() const { return value_->is_null(); }

  /// A member that must be there.
  JsonNode at(std::string_view key) const;
  /// A member that may be absent or null.
  std::optional<JsonNode> find(std::string_view key) const;
  std::vector<JsonNode> elements() const;

  std::string text() const;
  bool boolean() const;
  int64_t integer(int64_t lowest, int64_t highest) const;
  /// A string of exactly one character.
  char32_t character() const;

  bool boolean_or(std::string_view key, bool otherwise) const;
  /// Refuses members other than these: an unknown setting might change the tokens.
  void allow_only(std::initializer_list<std::string_view> keys) const;

  [[noreturn]] void fail(std::string_view complaint) const;

 private:
  const nlohmann::json* value_;
  std::string file_;
  std::string where_;
};

}  // namespace coeus
