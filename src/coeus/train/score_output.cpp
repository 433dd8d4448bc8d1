#include "coeus/train/score_output.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <fstream>
#include <iostream>

#include "coeus/base/error.h"
#include "coeus/base/shortest_number.h"

namespace coeus {

WholeFile::WholeFile(const std::string& name) : name_(name) {
  if (name_ == "-") return;
  // Renaming onto a link would put a file in the link's place.
  target_ = std::filesystem::weakly_canonical(name_);
  const auto status = std::filesystem::status(target_);
  COEUS_CHECK_CONFIG(!std::filesystem::is_directory(status),
                     "--output {}: is a folder; name a file", name_);
  const bool is_device = std::filesystem::exists(status) && !is_regular_file(status);
  if (!is_device) partial_ = target_.string() + ".partial";
  const std::filesystem::path& written = is_device ? target_ : partial_;
  file_ = std::make_unique<std::ofstream>(written, std::ios::binary);
  COEUS_CHECK_CONFIG(*file_, "--output {}: cannot write {}; does its folder exist?", name_,
                     written.string());
}

WholeFile::~WholeFile() {
  file_.reset();
  std::error_code ignored;
  if (!partial_.empty()) std::filesystem::remove(partial_, ignored);
}

std::ostream& WholeFile::stream() { return file_ ? *file_ : std::cout; }

void WholeFile::finish() {
  stream().flush();
  COEUS_CHECK(stream().good(), "--output {}: cannot be written; is the disk full?", name_);
  file_.reset();
  if (partial_.empty()) return;
  std::filesystem::rename(partial_, target_);
  partial_.clear();
}

std::string score_line_json(const ScoreLine& line, const std::vector<float>& scores) {
  std::vector<std::string> numbers;
  numbers.reserve(scores.size());
  for (const float score : scores) numbers.push_back(shortest_number(score));
  std::string text = "{";
  if (line.is_text) text += fmt::format("\"tokens\": [{}], ", fmt::join(line.tokens, ", "));
  return text + fmt::format("\"logprobs\": [{}]}}", fmt::join(numbers, ", "));
}

}  // namespace coeus
