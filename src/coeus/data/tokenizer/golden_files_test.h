// Where the tests find the expected results of tests/tokenizer.
#pragma once

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "coeus/base/temporary_folder.h"

namespace coeus {

inline std::filesystem::path golden_folder() {
  return std::filesystem::path(COEUS_SOURCE_DIR) / "tests" / "tokenizer";
}

/// A JSON file that tests/tokenizer/make_golden.py wrote.
inline nlohmann::json read_golden(const std::string& name) {
  std::ifstream file(golden_folder() / name);
  return nlohmann::json::parse(file);
}

}  // namespace coeus
