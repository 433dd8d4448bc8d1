#include "coeus/data/synthetic_dataset.h"

#include <gmock/gmock.h>

#include <span>

#include "coeus/base/error.h"
#include "coeus/data/test_sha256.h"

namespace coeus {
namespace {

std::vector<int32_t> stream(int64_t vocab_size, size_t size) {
  SyntheticDataset dataset(vocab_size);
  std::vector<int32_t> tokens;
  for (Document document; tokens.size() < size && dataset.next(document);) {
    tokens.insert(tokens.end(), document.tokens.begin(), document.tokens.end());
  }
  tokens.resize(size);
  return tokens;
}

TEST(SyntheticDataset, GivesTheReferenceStream) {
  ASSERT_EQ(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  auto tokens = stream(2048, 40 * 513);
  EXPECT_THAT(std::span(tokens).first(16),
              testing::ElementsAre(2046, 641, 1166, 1742, 528, 601, 966, 740, 1656, 97, 493, 426,
                                   89, 448, 195, 982));
  EXPECT_EQ(sha256(tokens), "9b19399efc945286196006fcb31d6eb9e3f219bddfe0c8f3f30f201f48578588");
}

TEST(SyntheticDataset, StaysInsideAnyVocabulary) {
  for (int64_t vocab_size : {3, 4, 10, 128256}) {
    for (int32_t token : stream(vocab_size, 3000)) {
      ASSERT_GE(token, 0);
      ASSERT_LT(token, vocab_size);
    }
  }
  EXPECT_THROW(SyntheticDataset(2), ConfigError);
}

TEST(SyntheticDataset, MarksBothEndsOfEveryDocument) {
  SyntheticDataset dataset(100);
  Document document;
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(dataset.next(document));
    ASSERT_TRUE(document.tokenized);
    auto size = static_cast<int64_t>(document.tokens.size());
    ASSERT_GE(size, 8 + 2);
    ASSERT_LE(size, 511 + 2);
    EXPECT_EQ(document.tokens.front(), 98);
    EXPECT_EQ(document.tokens.back(), 99);
  }
}

}  // namespace
}  // namespace coeus
