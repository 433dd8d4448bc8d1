// Where the tests find the expected results of tests/tokenizer, and a place to write to.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

namespace coeus {

inline std::filesystem::path golden_folder() {
  return std::filesystem::path(COEUS_SOURCE_DIR) / "tests" / "tokenizer";
}

/// A JSON file that tests/tokenizer/make_golden.py wrote.
inline nlohmann::json read_golden(const std::string& name) {
  std::ifstream file(golden_folder() / name);
  return nlohmann::json::parse(file);
}

/// A folder that is removed at the end of the test.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = ::testing::TempDir() + "coeus_tokenizer_XXXXXX";
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    path_ = name;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }

  const std::filesystem::path& path() const { return path_; }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ / name, std::ios::binary) << text;
  }

 private:
  std::filesystem::path path_;
};

}  // namespace coeus
