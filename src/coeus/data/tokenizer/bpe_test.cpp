#include "coeus/data/tokenizer/bpe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <stdexcept>

#include "coeus/base/error.h"
#include "coeus/data/tokenizer/golden_files_test.h"

namespace coeus {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<int32_t> encode(const Bpe& bpe, std::string_view word) {
  std::vector<int32_t> ids;
  bpe.encode(word, ids);
  std::vector<int32_t> again;
  bpe.encode(word, again);  // from the cache, if it went there
  EXPECT_EQ(ids, again) << word;
  return ids;
}

TEST(Bpe, MergesByRankThenFromTheLeft) {
  const Bpe bpe({{"a", 0}, {"b", 1}, {"ab", 2}, {"ba", 3}, {"aa", 4}, {"aaa", 5}},
                {{"b", "a"}, {"a", "b"}, {"a", "a"}, {"aa", "a"}}, {});
  EXPECT_THAT(encode(bpe, "aba"), ElementsAre(0, 3));
  EXPECT_THAT(encode(bpe, "aaaaa"), ElementsAre(4, 5));
  EXPECT_THAT(encode(bpe, "b"), ElementsAre(1));
}

TEST(Bpe, FastPathsAgreeWithThePlainOne) {
  const auto file = read_golden("llama3/tokenizer.json");
  Vocabulary vocabulary;
  for (const auto& [token, id] : file["model"]["vocab"].items()) {
    vocabulary.emplace(token, id.get<int32_t>());
  }
  const auto merges = file["model"]["merges"].get<std::vector<Merge>>();
  const Bpe bpe(vocabulary, merges, {.words_are_bytes = true});
  std::mt19937 draw(1);
  for (int i = 0; i < 3000; ++i) {
    const size_t length = 1 + draw() % (i % 10 == 0 ? 400 : 40);
    std::string word;
    for (size_t j = 0; j < length; ++j) {
      word += draw() % 8 == 0 ? static_cast<char>(draw() % 256) : "etaoinshr "[draw() % 10];
    }
    std::vector<int32_t> plain;
    bpe.encode_plainly(word, plain);
    EXPECT_EQ(encode(bpe, word), plain) << word;
  }
}

TEST(Bpe, UnknownCharactersAreDroppedWithoutAnUnknownToken) {
  const Bpe bpe({{"a", 0}}, {}, {});
  EXPECT_THAT(encode(bpe, "xyaé"), ElementsAre(0));
  EXPECT_THAT(encode(bpe, "x"), IsEmpty());
}

TEST(Bpe, UnknownCharactersAreFusedWhenAsked) {
  const Vocabulary vocabulary{{"<unk>", 7}, {"a", 0}};
  EXPECT_THAT(encode(Bpe(vocabulary, {}, {.unknown_token = "<unk>"}), "xyaz"),
              ElementsAre(7, 7, 0, 7));
  EXPECT_THAT(encode(Bpe(vocabulary, {}, {.unknown_token = "<unk>", .fuse_unknown = true}), "xyaz"),
              ElementsAre(7, 0, 7));
}

TEST(Bpe, BytesStandInForWhatTheVocabularyLacks) {
  const Bpe bpe({{"<unk>", 0}, {"a", 1}, {"<0xC3>", 2}, {"<0xA9>", 3}}, {},
                {.byte_fallback = true, .unknown_token = "<unk>", .fuse_unknown = true});
  EXPECT_THAT(encode(bpe, "aé"), ElementsAre(1, 2, 3));
  // Not all bytes of the ideograph have a token: it is unknown, and stays behind bytes after it.
  EXPECT_THAT(encode(bpe, "中éa"), ElementsAre(2, 3, 0, 1));
}

TEST(Bpe, IgnoreMergesTakesWholeWordsAsTheyAre) {
  const Vocabulary vocabulary{{"a", 0}, {"b", 1}, {"c", 2}, {"ab", 3}, {"abc", 4}};
  EXPECT_THAT(encode(Bpe(vocabulary, {{"a", "b"}}, {}), "abc"), ElementsAre(3, 2));
  EXPECT_THAT(encode(Bpe(vocabulary, {{"a", "b"}}, {.ignore_merges = true}), "abc"),
              ElementsAre(4));
}

TEST(Bpe, CachedWordsDoNotLeakFromOneModelToAnother) {
  const Bpe one({{"a", 0}, {"b", 1}, {"ab", 2}}, {{"a", "b"}}, {});
  const Bpe other({{"a", 5}, {"b", 6}}, {}, {});
  EXPECT_THAT(encode(one, "ab"), ElementsAre(2));
  EXPECT_THAT(encode(other, "ab"), ElementsAre(5, 6));
  EXPECT_THAT(encode(one, "ab"), ElementsAre(2));
}

TEST(Bpe, RefusesWhatContradictsItself) {
  const auto complaint = [](const Vocabulary& vocabulary, const std::vector<Merge>& merges) {
    try {
      Bpe bpe(vocabulary, merges, {});
    } catch (const std::invalid_argument& error) {
      return std::string(error.what());
    }
    return std::string("none");
  };
  EXPECT_THAT(complaint({{"a", 0}}, {{"a", "b"}}), HasSubstr("merge 0 needs the token 'b'"));
  EXPECT_THAT(complaint({{"a", 0}, {"b", 1}}, {{"a", "b"}}), HasSubstr("needs the token 'ab'"));
  EXPECT_THAT(complaint({{"a", 3}, {"b", 3}}, {}), HasSubstr("have the same id 3"));
}

TEST(Bpe, NamesAnUnknownTokenThatIsMissingOnlyWhenItIsNeeded) {
  const Bpe bpe({{"a", 0}}, {}, {.unknown_token = "<unk>"});
  EXPECT_THAT(encode(bpe, "a"), ElementsAre(0));
  EXPECT_THROW(encode(bpe, "b"), DataError);
}

}  // namespace
}  // namespace coeus
