// What reading a configuration tells beside the values.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "coeus/base/config_schema.h"

namespace coeus {

/// Where each value came from, and what the user should know although it is no mistake.
struct ConfigReport {
  std::string file;                                          ///< empty if none was read
  std::map<std::string, ConfigSource, std::less<>> sources;  ///< by full key
  std::vector<std::string> warnings;

  ConfigSource source_of(std::string_view key) const {
    const auto found = sources.find(key);
    return found == sources.end() ? ConfigSource{} : found->second;
  }
  bool is_set(std::string_view key) const {
    return source_of(key).kind != ConfigSource::Kind::kDefault;
  }
};

}  // namespace coeus
