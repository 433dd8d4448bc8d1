// The single parts against what the Hugging Face library makes of the same settings and texts.
#include <gtest/gtest.h>

#include "coeus/data/tokenizer/byte_alphabet.h"
#include "coeus/data/tokenizer/decoder.h"
#include "coeus/data/tokenizer/golden_files_test.h"
#include "coeus/data/tokenizer/normalizer.h"
#include "coeus/data/tokenizer/pre_tokenizer.h"

namespace coeus {
namespace {

struct Pieces final : PieceSink {
  std::vector<std::string> texts;
  void take(const Piece& piece) override { texts.emplace_back(piece.text); }
};

TEST(Normalizer, AgreesWithTheLibrary) {
  const auto golden = read_golden("components.json");
  for (const auto& entry : golden["normalizers"]) {
    const Normalizer normalizer{JsonNode(entry["config"], "normalizer")};
    ASSERT_FALSE(entry["cases"].empty());
    for (const auto& row : entry["cases"]) {
      EXPECT_EQ(normalizer(row[0].get<std::string>()), row[1].get<std::string>())
          << entry["config"] << " of " << row[0];
    }
  }
}

TEST(PreTokenizer, AgreesWithTheLibrary) {
  const auto golden = read_golden("components.json");
  for (const auto& entry : golden["pre_tokenizers"]) {
    const PreTokenizer pre_tokenizer{JsonNode(entry["config"], "pre_tokenizer")};
    ASSERT_FALSE(entry["cases"].empty());
    for (const auto& row : entry["cases"]) {
      Pieces pieces;
      const auto text = row[0].get<std::string>();
      pre_tokenizer.run({text, true}, pieces);
      if (pre_tokenizer.yields_bytes()) {
        for (auto& piece : pieces.texts) piece = bytes_to_alphabet(piece);
      }
      EXPECT_EQ(pieces.texts, row[1].get<std::vector<std::string>>())
          << entry["config"] << " of " << row[0];
    }
  }
}

TEST(Decoder, AgreesWithTheLibrary) {
  const auto golden = read_golden("components.json");
  for (const auto& entry : golden["decoders"]) {
    const auto& config = entry["config"];
    const Decoder decoder = config.is_null() ? Decoder() : Decoder(JsonNode(config, "decoder"));
    for (const auto& row : entry["cases"]) {
      EXPECT_EQ(decoder(row[0].get<std::vector<std::string>>()), row[1].get<std::string>())
          << config << " of " << row[0];
    }
  }
}

TEST(Metaspace, SchemeFirstPrependsAtTheOriginOnly) {
  const auto config = nlohmann::json::parse(
      R"({"type":"Metaspace","replacement":"_","prepend_scheme":"first","split":true})");
  const PreTokenizer pre_tokenizer{JsonNode(config, "pre_tokenizer")};
  Pieces first;
  pre_tokenizer.run({"a b", true}, first);
  EXPECT_EQ(first.texts, (std::vector<std::string>{"_a", "_b"}));
  Pieces later;
  pre_tokenizer.run({"a b", false}, later);
  EXPECT_EQ(later.texts, (std::vector<std::string>{"a", "_b"}));
}

}  // namespace
}  // namespace coeus
