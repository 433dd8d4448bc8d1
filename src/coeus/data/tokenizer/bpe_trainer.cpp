#include "coeus/data/tokenizer/bpe_trainer.h"

#include <algorithm>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <queue>
#include <unordered_map>

#include "coeus/base/error.h"
#include "coeus/data/tokenizer/bpe.h"
#include "coeus/data/tokenizer/byte_alphabet.h"
#include "coeus/data/tokenizer/json_node.h"
#include "coeus/data/tokenizer/normalizer.h"
#include "coeus/data/tokenizer/pre_tokenizer.h"
#include "coeus/data/tokenizer/tokenizer_kinds.h"
#include "coeus/data/tokenizer/utf8.h"

namespace coeus {
namespace {

using Pair = std::pair<int32_t, int32_t>;

struct Word {
  std::vector<int32_t> symbols;
  int64_t count;
};

struct PairHash {
  size_t operator()(const Pair& pair) const {
    return std::hash<uint64_t>{}(static_cast<uint64_t>(pair.first) << 32 |
                                 static_cast<uint32_t>(pair.second)) *
           0x9E3779B97F4A7C15u;
  }
};

struct PairUse {
  int64_t count = 0;
  std::vector<uint32_t> words;  // where it stands, or stood; may name a word twice
};

struct Candidate {
  int64_t count;
  Pair pair;
  bool operator<(const Candidate& other) const {  // the queue's top: most frequent, lowest ids
    return count != other.count ? count < other.count : pair > other.pair;
  }
};

class MergeLearner {
 public:
  explicit MergeLearner(std::vector<Word> words) : words_(std::move(words)) {
    // The 256 bytes, in the order of the characters that stand for them.
    std::map<char32_t, unsigned char> order;
    for (unsigned byte = 0; byte < 256; ++byte) {
      order.emplace(byte_to_character(static_cast<unsigned char>(byte)), byte);
    }
    std::vector<int32_t> id_of_byte(256);
    for (const auto& [character, byte] : order) {
      id_of_byte[byte] = static_cast<int32_t>(tokens_.size());
      std::string token;
      append_utf8(token, character);
      add_token(token);
    }
    for (auto& word : words_) {
      for (auto& symbol : word.symbols) symbol = id_of_byte[static_cast<size_t>(symbol)];
    }
  }

  void learn(int64_t token_count) {
    std::vector<Pair> touched;
    for (uint32_t w = 0; w < words_.size(); ++w) count_pairs(w, 1, touched);
    requeue(touched);
    while (static_cast<int64_t>(tokens_.size()) < token_count && !queue_.empty()) {
      const Candidate top = queue_.top();
      queue_.pop();
      auto& use = uses_[top.pair];
      if (use.count != top.count) continue;  // a newer entry is in the queue
      if (top.count < 1) break;
      apply(top.pair, std::move(use.words));
    }
  }

  const std::vector<std::string>& tokens() const { return tokens_; }
  const std::vector<Pair>& merges() const { return merges_; }

 private:
  int32_t add_token(const std::string& token) {
    const auto [it, added] = ids_.emplace(token, static_cast<int32_t>(tokens_.size()));
    if (added) tokens_.push_back(token);
    return it->second;
  }

  void count_pairs(uint32_t w, int sign, std::vector<Pair>& touched) {
    const Word& word = words_[w];
    for (size_t i = 0; i + 1 < word.symbols.size(); ++i) {
      const Pair pair{word.symbols[i], word.symbols[i + 1]};
      PairUse& use = uses_[pair];
      use.count += sign * word.count;
      if (sign > 0 && (use.words.empty() || use.words.back() != w)) use.words.push_back(w);
      touched.push_back(pair);
    }
  }

  void requeue(std::vector<Pair>& touched) {
    std::sort(touched.begin(), touched.end());
    touched.erase(std::unique(touched.begin(), touched.end()), touched.end());
    for (const auto& pair : touched) {
      const int64_t count = uses_[pair].count;
      if (count > 0) queue_.push({count, pair});
    }
    touched.clear();
  }

  void apply(Pair pair, std::vector<uint32_t> where) {
    const int32_t merged = add_token(tokens_[static_cast<size_t>(pair.first)] +
                                     tokens_[static_cast<size_t>(pair.second)]);
    merges_.push_back(pair);
    std::sort(where.begin(), where.end());
    where.erase(std::unique(where.begin(), where.end()), where.end());
    std::vector<Pair> touched;
    for (const uint32_t w : where) {
      auto& symbols = words_[w].symbols;
      bool present = false;
      for (size_t i = 0; i + 1 < symbols.size() && !present; ++i) {
        present = symbols[i] == pair.first && symbols[i + 1] == pair.second;
      }
      if (!present) continue;
      count_pairs(w, -1, touched);
      size_t out = 0;
      for (size_t i = 0; i < symbols.size(); ++i, ++out) {
        const bool match =
            i + 1 < symbols.size() && symbols[i] == pair.first && symbols[i + 1] == pair.second;
        symbols[out] = match ? merged : symbols[i];
        if (match) ++i;
      }
      symbols.resize(out);
      count_pairs(w, 1, touched);
    }
    requeue(touched);
  }

  std::vector<Word> words_;
  std::vector<std::string> tokens_;
  Vocabulary ids_;
  std::vector<Pair> merges_;
  std::unordered_map<Pair, PairUse, PairHash> uses_;
  std::priority_queue<Candidate> queue_;
};

class WordCounter final : public PieceSink {
 public:
  void take(const Piece& piece) override {
    const auto it = counts_.find(piece.text);
    if (it != counts_.end()) {
      ++it->second;
    } else {
      counts_.emplace(piece.text, 1);
    }
  }

  // In the order of the words, so that nothing depends on how they were hashed.
  std::vector<Word> words() const {
    std::vector<std::pair<std::string_view, int64_t>> sorted(counts_.begin(), counts_.end());
    std::sort(sorted.begin(), sorted.end());
    std::vector<Word> words;
    words.reserve(sorted.size());
    for (const auto& [text, count] : sorted) {
      Word word{{}, count};
      for (const char byte : text) word.symbols.push_back(static_cast<unsigned char>(byte));
      words.push_back(std::move(word));
    }
    return words;
  }

 private:
  std::unordered_map<std::string, int64_t, StringHash, std::equal_to<>> counts_;
};

std::vector<std::string> all_special_tokens(const BpeTrainerOptions& options) {
  std::vector<std::string> tokens = options.special_tokens;
  tokens.push_back(options.bos_token);
  tokens.push_back(options.eos_token);
  for (auto it = tokens.begin(); it != tokens.end(); ++it) {
    COEUS_CHECK(!it->empty(), "[tokenizer train] a special token is empty");
    COEUS_CHECK(is_valid_utf8(*it), "[tokenizer train] a special token is not UTF-8");
    COEUS_CHECK(std::find(tokens.begin(), it, *it) == it,
                "[tokenizer train] the special token '{}' is named twice", *it);
  }
  return tokens;
}

void write_file(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::path unfinished = path;
  unfinished += ".tmp";
  std::ofstream file(unfinished, std::ios::binary);
  file << text;
  file.close();
  std::error_code error;
  if (file.good()) std::filesystem::rename(unfinished, path, error);
  if (!file.good() || error) {
    std::error_code ignored;
    std::filesystem::remove(unfinished, ignored);
    throw Error(
        fmt::format("[tokenizer train] cannot write {}: check that the folder may be written "
                    "and the disk has room",
                    path.string()));
  }
}

}  // namespace

TrainedBpe train_bpe(const std::function<bool(std::string&)>& next_document,
                     const BpeTrainerOptions& options) {
  const auto specials = all_special_tokens(options);
  const auto special_count = static_cast<int64_t>(specials.size());
  COEUS_CHECK(options.vocab_size >= 256 + special_count && options.vocab_size <= (1 << 24),
              "[tokenizer train] the vocabulary size must lie between {} (256 bytes and {} special "
              "tokens) and {}, got {}",
              256 + special_count, special_count, 1 << 24, options.vocab_size);

  auto settings = tokenizer_skeleton(options.kind, options.bos_token, 0);
  const nlohmann::json plain = settings;
  const PreTokenizer pre_tokenizer{JsonNode(plain["pre_tokenizer"], options.kind)};
  const Normalizer normalizer{JsonNode(plain["normalizer"], options.kind)};

  TrainedBpe trained;
  WordCounter counter;
  for (std::string document; next_document(document);) {
    ++trained.documents;
    trained.bytes += static_cast<int64_t>(document.size());
    NormalizedText text{is_valid_utf8(document) ? document : replace_invalid_utf8(document)};
    normalizer.apply(text);
    if (!text.text.empty()) pre_tokenizer.run({text.text, true}, counter);
  }
  COEUS_CHECK(trained.bytes > 0, "[tokenizer train] there is no text to train on: check the input");

  auto words = counter.words();
  trained.distinct_words = static_cast<int64_t>(words.size());
  MergeLearner learner(std::move(words));
  learner.learn(options.vocab_size - special_count);

  const auto& tokens = learner.tokens();
  const auto first_special = static_cast<int64_t>(tokens.size());
  trained.vocab_size = first_special + special_count;
  auto file = tokenizer_skeleton(options.kind, options.bos_token, trained.vocab_size - 2);
  auto& vocabulary = file["model"]["vocab"];
  {
    // Built as a list first: an ordered_json looks through all its members at every insertion.
    nlohmann::ordered_json::object_t entries;
    entries.reserve(tokens.size());
    for (size_t id = 0; id < tokens.size(); ++id) {
      entries.std::vector<nlohmann::ordered_json::object_t::value_type>::emplace_back(tokens[id],
                                                                                      id);
    }
    vocabulary = std::move(entries);
  }
  for (const auto& [left, right] : learner.merges()) {
    file["model"]["merges"].push_back(
        {tokens[static_cast<size_t>(left)], tokens[static_cast<size_t>(right)]});
  }
  for (int64_t i = 0; i < special_count; ++i) {
    const auto& content = specials[static_cast<size_t>(i)];
    COEUS_CHECK(std::find(tokens.begin(), tokens.end(), content) == tokens.end(),
                "[tokenizer train] the special token '{}' is also a token that the text gave: name "
                "another",
                content);
    file["added_tokens"].push_back({{"id", first_special + i},
                                    {"content", content},
                                    {"single_word", false},
                                    {"lstrip", false},
                                    {"rstrip", false},
                                    {"normalized", false},
                                    {"special", true}});
  }
  trained.tokenizer_json = file.dump(2) + "\n";
  const nlohmann::ordered_json config = {{"bos_token", options.bos_token},
                                         {"eos_token", options.eos_token},
                                         {"add_bos_token", options.kind == "llama3"},
                                         {"add_eos_token", false},
                                         {"tokenizer_class", "PreTrainedTokenizerFast"}};
  trained.tokenizer_config_json = config.dump(2) + "\n";
  return trained;
}

void write_tokenizer(const TrainedBpe& trained, const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  COEUS_CHECK(!error, "[tokenizer train] cannot make the folder {}: {}", folder.string(),
              error.message());
  write_file(folder / "tokenizer.json", trained.tokenizer_json);
  write_file(folder / "tokenizer_config.json", trained.tokenizer_config_json);
}

}  // namespace coeus
