#include "coeus/data/tokenizer/json_node.h"

#include <algorithm>
#include <fstream>
#include <iterator>

#include "coeus/base/error.h"
#include "coeus/data/tokenizer/utf8.h"

namespace coeus {

template <class Json>
Json read_json_file(const std::filesystem::path& path) {
  std::error_code ignored;
  COEUS_CHECK_DATA(!std::filesystem::is_directory(path, ignored),
                   "[tokenizer] {} is a folder, not a file", path.string());
  std::ifstream file(path, std::ios::binary);
  COEUS_CHECK_DATA(file.good(), "[tokenizer] cannot open {}: check that it exists and may be read",
                   path.string());
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  COEUS_CHECK_DATA(!file.bad(), "[tokenizer] reading {} failed", path.string());
  try {
    return Json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    throw DataError(fmt::format("[tokenizer] {} is not JSON: {}; fetch or make the file again",
                                path.string(), error.what()));
  }
}

template nlohmann::json read_json_file<nlohmann::json>(const std::filesystem::path&);
template nlohmann::ordered_json read_json_file<nlohmann::ordered_json>(
    const std::filesystem::path&);

void JsonNode::fail(std::string_view complaint) const {
  throw DataError(fmt::format("[tokenizer] {}: {}: {}", file_,
                              where_.empty() ? "the whole file" : where_, complaint));
}

JsonNode JsonNode::at(std::string_view key) const {
  if (!value_->is_object()) fail(fmt::format("must be an object, is {}", value_->type_name()));
  const auto member = value_->find(key);
  if (member == value_->end()) fail(fmt::format("'{}' is missing", key));
  return {*member, file_, where_.empty() ? std::string(key) : fmt::format("{}.{}", where_, key)};
}

std::optional<JsonNode> JsonNode::find(std::string_view key) const {
  if (!value_->is_object()) fail(fmt::format("must be an object, is {}", value_->type_name()));
  const auto member = value_->find(key);
  if (member == value_->end() || member->is_null()) return std::nullopt;
  return at(key);
}

std::vector<JsonNode> JsonNode::elements() const {
  if (!value_->is_array()) fail(fmt::format("must be a list, is {}", value_->type_name()));
  std::vector<JsonNode> nodes;
  nodes.reserve(value_->size());
  for (size_t i = 0; i < value_->size(); ++i) {
    nodes.emplace_back((*value_)[i], file_, fmt::format("{}[{}]", where_, i));
  }
  return nodes;
}

std::string JsonNode::text() const {
  if (!value_->is_string()) fail(fmt::format("must be a string, is {}", value_->type_name()));
  return value_->get<std::string>();
}

bool JsonNode::boolean() const {
  if (!value_->is_boolean()) fail(fmt::format("must be true or false, is {}", value_->type_name()));
  return value_->get<bool>();
}

int64_t JsonNode::integer(int64_t lowest, int64_t highest) const {
  if (!value_->is_number_integer()) {
    fail(fmt::format("must be a whole number, is {}", value_->dump().substr(0, 40)));
  }
  const bool too_large =
      value_->is_number_unsigned() && value_->get<uint64_t>() > static_cast<uint64_t>(highest);
  if (too_large || value_->get<int64_t>() < lowest || value_->get<int64_t>() > highest) {
    fail(fmt::format("must lie between {} and {}, is {}", lowest, highest, value_->dump()));
  }
  return value_->get<int64_t>();
}

char32_t JsonNode::character() const {
  const std::string string = text();
  size_t end = 0;
  const char32_t c = string.empty() ? 0 : next_code_point(string, end);
  if (string.empty() || end != string.size()) {
    fail(fmt::format("must be one character, is '{}'", string));
  }
  return c;
}

bool JsonNode::boolean_or(std::string_view key, bool otherwise) const {
  const auto member = find(key);
  return member ? member->boolean() : otherwise;
}

void JsonNode::allow_only(std::initializer_list<std::string_view> keys) const {
  if (!value_->is_object()) fail(fmt::format("must be an object, is {}", value_->type_name()));
  for (const auto& [key, member] : value_->items()) {
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) {
      fail(fmt::format("'{}' is not a known setting (known: {})", key, fmt::join(keys, ", ")));
    }
  }
}

}  // namespace coeus
