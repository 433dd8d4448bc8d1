#include "coeus/data/tokenizer/vocab_files.h"

#include <algorithm>
#include <fstream>

#include "coeus/base/error.h"
#include "coeus/data/tokenizer/json_node.h"
#include "coeus/data/tokenizer/utf8.h"

namespace coeus {
namespace {

namespace fs = std::filesystem;

// Lines without the white space around them.
std::vector<std::string> read_lines(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  COEUS_CHECK_DATA(in.good(), "[tokenizer] cannot open {}", path.string());
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) {
    constexpr const char* kBlank = " \t\r\f\v";
    const size_t begin = line.find_first_not_of(kBlank);
    lines.push_back(begin == std::string::npos
                        ? ""
                        : line.substr(begin, line.find_last_not_of(kBlank) + 1 - begin));
    COEUS_CHECK_DATA(is_valid_utf8(line), "[tokenizer] {}:{}: not UTF-8", path.string(),
                     lines.size());
  }
  COEUS_CHECK_DATA(!in.bad(), "[tokenizer] reading {} failed", path.string());
  return lines;
}

nlohmann::json read_vocabulary_lines(const fs::path& path) {
  nlohmann::json vocabulary = nlohmann::json::object();
  const auto tokens = read_lines(path);
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (tokens[id].empty()) continue;
    const auto [entry, is_new] = vocabulary.emplace(tokens[id], id);
    COEUS_CHECK_DATA(is_new, "[tokenizer] {}:{}: the token '{}' stands on line {} already",
                     path.string(), id + 1, tokens[id], entry.value().get<size_t>() + 1);
  }
  return vocabulary;
}

// Only the first line may be a comment: "# #" further down is a merge of GPT-2.
nlohmann::json read_merge_lines(const fs::path& path) {
  nlohmann::json merges = nlohmann::json::array();
  const auto lines = read_lines(path);
  for (size_t i = 0; i < lines.size(); ++i) {
    const std::string& line = lines[i];
    if (line.empty() || (i == 0 && line.starts_with("#version"))) continue;
    const size_t space = line.find(' ');
    COEUS_CHECK_DATA(space != std::string::npos && line.find(' ', space + 1) == std::string::npos,
                     "[tokenizer] {}:{}: '{}' is not two tokens with a space between them",
                     path.string(), i + 1, line);
    merges.push_back({line.substr(0, space), line.substr(space + 1)});
  }
  return merges;
}

std::string files_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.is_regular_file()) names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names.empty() ? "no file" : fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace

TokenizerParts read_tokenizer_folder(const fs::path& folder, const TokenizerConfig& config) {
  if (fs::exists(folder / "tokenizer.json")) {
    return read_tokenizer_file(folder / "tokenizer.json", config);
  }
  const bool as_json = fs::exists(folder / "vocab.json");
  const fs::path vocabulary = folder / (as_json ? "vocab.json" : "vocab.txt");
  const bool has_vocabulary = fs::exists(vocabulary);
  const bool has_merges = fs::exists(folder / "merges.txt");
  COEUS_CHECK_DATA(has_vocabulary || has_merges,
                   "[tokenizer] {} holds no tokenizer.json, and no vocab.json and merges.txt "
                   "instead; there is {}",
                   folder.string(), files_in(folder));
  COEUS_CHECK_DATA(has_merges,
                   "[tokenizer] {} has {}, but neither tokenizer.json nor merges.txt: a vocabulary "
                   "alone (WordLevel) is not supported; add merges.txt",
                   folder.string(), vocabulary.filename().string());
  COEUS_CHECK_DATA(has_vocabulary,
                   "[tokenizer] {} has merges.txt, but neither tokenizer.json nor vocab.json; add "
                   "vocab.json",
                   folder.string());
  const nlohmann::json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}};
  const nlohmann::json document = {
      {"pre_tokenizer", byte_level},
      {"post_processor", byte_level},
      {"decoder", byte_level},
      {"model",
       {{"type", "BPE"},
        {"vocab", as_json ? read_json_file(vocabulary) : read_vocabulary_lines(vocabulary)},
        {"merges", read_merge_lines(folder / "merges.txt")}}}};
  return read_tokenizer(document, vocabulary.string() + " with merges.txt", config);
}

}  // namespace coeus
