// Where `coeus score` writes.
#pragma once

#include <filesystem>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "coeus/train/score_input.h"

namespace coeus {

/// A text file that appears under its name when it is whole: until then it is NAME.partial, which
/// goes when this goes. "-" is standard output; devices and pipes are written as they are.
class WholeFile {
 public:
  /// Throws ConfigError if it cannot be made.
  explicit WholeFile(const std::string& name);
  ~WholeFile();
  WholeFile(const WholeFile&) = delete;
  WholeFile& operator=(const WholeFile&) = delete;

  std::ostream& stream();
  /// Puts the file in its place. Throws Error if something could not be written.
  void finish();

 private:
  std::string name_;
  std::filesystem::path target_;
  std::filesystem::path partial_;  ///< empty where there is none
  std::unique_ptr<std::ostream> file_;
};

/// {"logprobs": […]} of a line, each number the shortest text that reads back as the same float.
/// A text's line has its "tokens" first.
std::string score_line_json(const ScoreLine& line, const std::vector<float>& scores);

}  // namespace coeus
