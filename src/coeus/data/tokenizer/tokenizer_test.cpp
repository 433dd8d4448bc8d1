// Whole tokenizers of the five published kinds against the Hugging Face library.
#include "coeus/data/tokenizer/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <random>
#include <thread>

#include "coeus/base/error.h"
#include "coeus/data/tokenizer/golden_files_test.h"
#include "coeus/data/tokenizer/utf8.h"

namespace coeus {
namespace {

namespace fs = std::filesystem;

class IdHash {
 public:
  IdHash() { XXH3_64bits_reset(&state_); }
  void add(const std::vector<int32_t>& ids) {
    XXH3_64bits_update(&state_, ids.data(), ids.size() * sizeof(int32_t));
  }
  void add(const std::string& bytes) { XXH3_64bits_update(&state_, bytes.data(), bytes.size()); }
  std::string hexadecimal() { return fmt::format("{:016x}", XXH3_64bits_digest(&state_)); }

 private:
  XXH3_state_t state_;
};

// The texts of make_golden.py's long_text().
std::string long_text(const std::string& name) {
  if (name == "one letter") return std::string(1 << 20, 'a');
  const std::vector<std::string> ideographs = {"天", "地", "玄", "黄", "宇",
                                               "宙", "洪", "荒", "日", "月"};
  const std::string letters = "etaoinshrdlu";
  uint64_t state = 1;
  std::string text;
  const int count = name == "letters" ? 1 << 20 : (1 << 20) / 3;
  for (int i = 0; i < count; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const uint64_t draw = state >> 33;
    if (name == "letters") {
      text += letters[draw % letters.size()];
    } else {
      text += ideographs[draw % ideographs.size()];
    }
  }
  return text;
}

// Debian's fortunes as make_golden.py reads them, and the hash of the files.
std::vector<std::string> fortunes(std::string& corpus) {
  std::vector<std::string> documents;
  IdHash hash;
  const fs::path folder = "/usr/share/games/fortunes";
  std::vector<fs::path> files;
  if (fs::is_directory(folder)) {
    for (const auto& entry : fs::directory_iterator(folder)) {
      const auto extension = entry.path().extension();
      if (extension != ".dat" && extension != ".u8") files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  for (const auto& path : files) {
    std::ifstream file(path, std::ios::binary);
    std::string text{std::istreambuf_iterator<char>(file), {}};
    hash.add(text);
    text = replace_invalid_utf8(text);
    for (size_t begin = 0; begin <= text.size();) {
      const size_t end = std::min(text.find("\n%\n", begin), text.size());
      const std::string document = text.substr(begin, end - begin);
      if (document.find_first_not_of(" \t\n\r\v\f") != std::string::npos) {
        documents.push_back(document);
      }
      begin = end + 3;
    }
  }
  corpus = hash.hexadecimal();
  return documents;
}

class TokenizerOfKind : public testing::TestWithParam<const char*> {
 protected:
  Tokenizer tokenizer_ = Tokenizer::from_folder(golden_folder() / GetParam());
  nlohmann::json expected_ = read_golden(std::string(GetParam()) + "/expected.json");
};

TEST_P(TokenizerOfKind, GivesTheLibrarysIdsOfHostileTexts) {
  const auto texts = read_golden("hostile.json");
  ASSERT_EQ(texts.size(), expected_["ids"].size());
  ASSERT_GT(texts.size(), 500u);
  for (size_t i = 0; i < texts.size(); ++i) {
    EXPECT_EQ(tokenizer_.encode(texts[i].get<std::string>()),
              expected_["ids"][i].get<std::vector<int32_t>>())
        << texts[i].dump(-1, ' ', true);
  }
}

TEST_P(TokenizerOfKind, DecodesAsTheLibrary) {
  const auto texts = read_golden("hostile.json");
  IdHash with_specials;
  for (size_t i = 0; i < texts.size(); ++i) {
    const auto ids = expected_["ids"][i].get<std::vector<int32_t>>();
    const auto& decoded = expected_["decoded"][i];
    EXPECT_EQ(tokenizer_.decode(ids), decoded.is_null() ? texts[i] : decoded);
    if (i > 0) with_specials.add(std::string(1, '\0'));
    with_specials.add(tokenizer_.decode(ids, false));
  }
  EXPECT_EQ(with_specials.hexadecimal(), expected_["decoded_with_specials_hash"]);
}

TEST_P(TokenizerOfKind, GivesTheLibrarysIdsOfAMegabyteWithoutASpace) {
  for (const auto& [name, hash] : expected_["long"].items()) {
    IdHash ids;
    ids.add(tokenizer_.encode(long_text(name)));
    EXPECT_EQ(ids.hexadecimal(), hash) << name;
  }
}

TEST_P(TokenizerOfKind, GivesTheLibrarysIdsOfFortunes) {
  std::string corpus;
  const auto documents = fortunes(corpus);
  if (corpus != expected_["fortunes"]["corpus"]) {
    GTEST_SKIP() << "the fortunes installed here are not those that the expected ids were made of";
  }
  EXPECT_EQ(documents.size(), expected_["fortunes"]["documents"]);
  IdHash ids;
  for (const auto& document : documents) ids.add(tokenizer_.encode(document));
  EXPECT_EQ(ids.hexadecimal(), expected_["fortunes"]["ids"]);
}

TEST_P(TokenizerOfKind, InvalidUtf8IsReadAsReplacementCharacters) {
  for (const auto& row : read_golden("invalid_utf8.json")) {
    std::string bytes;
    const auto digits = row[0].get<std::string>();
    for (size_t i = 0; i < digits.size(); i += 2) {
      bytes.push_back(static_cast<char>(std::stoi(digits.substr(i, 2), nullptr, 16)));
    }
    EXPECT_EQ(tokenizer_.encode(bytes), tokenizer_.encode(row[1].get<std::string>())) << row[0];
  }
}

TEST_P(TokenizerOfKind, BosAndEosAreAddedOnceEach) {
  const int32_t bos = tokenizer_.bos_id().value();
  const int32_t eos = tokenizer_.eos_id().value();
  const auto alone = tokenizer_.encode_without_special_tokens("Hello");
  auto around = alone;
  around.insert(around.begin(), bos);
  around.push_back(eos);
  EXPECT_EQ(tokenizer_.encode("Hello", {.add_bos = true, .add_eos = true}), around);
  EXPECT_EQ(std::count(alone.begin(), alone.end(), bos), 0);
}

TEST_P(TokenizerOfKind, MayBeUsedByManyThreads) {
  const auto texts = read_golden("hostile.json").get<std::vector<std::string>>();
  const auto rows = expected_["ids"].get<std::vector<std::vector<int32_t>>>();
  std::vector<int> wrong(4, 0);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      for (size_t i = 0; i < texts.size(); ++i) {
        const size_t row = (i * 7 + t * 101) % texts.size();
        if (tokenizer_.encode(texts[row]) != rows[row]) ++wrong[t];
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_THAT(wrong, testing::Each(0));
}

INSTANTIATE_TEST_SUITE_P(Published, TokenizerOfKind,
                         testing::Values("gpt2", "llama3", "qwen2", "deepseek_v3", "llama2"),
                         [](const auto& info) { return std::string(info.param); });

TEST(Tokenizer, ByteLevelTextSurvivesTheRoundTrip) {
  std::mt19937 draw(7);
  for (const auto* kind : {"gpt2", "llama3", "deepseek_v3"}) {
    // Without the added tokens, some of which swallow spaces by design.
    auto file = read_golden(std::string(kind) + "/tokenizer.json");
    file["added_tokens"] = nlohmann::json::array();
    file["post_processor"] = nullptr;
    const TemporaryFolder folder;
    folder.write("tokenizer.json", file.dump());
    const auto tokenizer = Tokenizer::from_folder(folder.path());
    for (int i = 0; i < 2000; ++i) {
      std::string text;
      const uint32_t ranges[] = {0x80, 0x800, 0x10000, 0x110000};
      for (unsigned n = draw() % 40; n > 0; --n) {
        const uint32_t c = draw() % ranges[draw() % 4];
        if (c < 0xD800 || c > 0xDFFF) append_utf8(text, c);
      }
      ASSERT_EQ(tokenizer.decode(tokenizer.encode(text)), text) << kind;
    }
  }
}

TEST(Tokenizer, TokensOfSpacesThatStripSpacesStayLinear) {
  auto file = read_golden("gpt2/tokenizer.json");
  for (auto& token : file["added_tokens"]) token["lstrip"] = token["rstrip"] = true;
  const TemporaryFolder folder;
  folder.write("tokenizer.json", file.dump());
  const auto tokenizer = Tokenizer::from_folder(folder.path());
  const auto ids = tokenizer.encode(std::string(1 << 20, ' ') + "a");
  EXPECT_EQ(ids.front(), tokenizer.token_to_id("  "));
  EXPECT_EQ(ids.size(), 2u);
}

TEST(Tokenizer, KnowsItsVocabulary) {
  const auto tokenizer = Tokenizer::from_folder(golden_folder() / "gpt2");
  EXPECT_EQ(tokenizer.vocab_size(), 1034);
  EXPECT_EQ(tokenizer.largest_id(), 1033);
  EXPECT_EQ(tokenizer.token_to_id("<|bos|>"), tokenizer.bos_id());
  EXPECT_EQ(tokenizer.id_to_token(tokenizer.eos_id().value()), "<|eos|>");
  EXPECT_EQ(tokenizer.token_to_id("!"), 0);
  EXPECT_EQ(tokenizer.token_to_id("no such token"), std::nullopt);
  EXPECT_EQ(tokenizer.id_to_token(1034), std::nullopt);
  EXPECT_EQ(tokenizer.id_to_token(-1), std::nullopt);
}

TEST(Tokenizer, DecodingPassesOverIdsThatNoTokenHas) {
  const auto tokenizer = Tokenizer::from_folder(golden_folder() / "gpt2");
  const std::vector<int32_t> ids = {0, 99999, -5, 1};
  EXPECT_EQ(tokenizer.decode(ids), "!\"");
}

}  // namespace
}  // namespace coeus
