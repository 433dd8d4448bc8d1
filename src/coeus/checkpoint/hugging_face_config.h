// config.json of Hugging Face's model folders.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "coeus/base/error.h"
#include "coeus/base/file_system.h"

namespace coeus {

/// config.json of the folder, flat and in its old form: `text_config` (of models that also see
/// images) and `rope_parameters` (of newer versions) become `rope_theta` and `rope_scaling` of the
/// whole. Nothing if there is no such file; throws CheckpointError if it is no JSON object.
std::optional<nlohmann::json> read_hugging_face_config(FileSystem& file_system,
                                                       const std::filesystem::path& folder);

/// The same of a text; `file` is named in errors.
nlohmann::json parse_hugging_face_config(const std::string& text, const std::string& file);

/// A value of a flat configuration; throws ConfigError, naming the key, if it is not there or of
/// another type. With `otherwise` it may be absent or null.
template <class T>
T hugging_face_value(const nlohmann::json& config, const char* key,
                     std::optional<T> otherwise = std::nullopt) {
  const auto found = config.find(key);
  const bool is_there = found != config.end() && !found->is_null();
  COEUS_CHECK_CONFIG(is_there || otherwise.has_value(), "config.json: {} is missing", key);
  if (!is_there) return *otherwise;
  try {
    return found->template get<T>();
  } catch (const nlohmann::json::exception& error) {
    throw ConfigError(fmt::format("config.json: {} is {}: {}", key, found->dump(), error.what()));
  }
}

/// Throws ConfigError, naming the key, unless its value is one of `known`, or it is absent or null:
/// for what changes a model in a way that coeus does not build.
void expect_hugging_face_value(const nlohmann::json& config, const char* key,
                               const std::vector<nlohmann::json>& known);

/// Compares with the configuration of the model to be filled: throws CheckpointError where heads
/// differ, since weights would land in wrong places, and warns of other values that are given in
/// both and differ (a rotary base, a norm's epsilon), since the model would compute other numbers.
void compare_hugging_face_config(const nlohmann::json& stored, const nlohmann::json& own,
                                 const std::string& file);

}  // namespace coeus
