#include "coeus/data/mixture_dataset.h"

#include <gmock/gmock.h>

#include <map>

#include "coeus/base/error.h"
#include "coeus/data/test_folder.h"

namespace coeus {
namespace {

using testing::HasSubstr;

class Mixture : public testing::Test {
 protected:
  /// A data set of `count` documents "NAME 0", "NAME 1", …
  MixtureEntry entry(const std::string& name, int count, double weight) {
    std::vector<std::string> texts;
    for (int i = 0; i < count; ++i) texts.push_back(name + " " + std::to_string(i));
    return {"json", folder_.write(name + ".json", json_lines(texts)), weight};
  }

  std::vector<std::string> first(const DatasetOptions& options, int count) {
    auto dataset = make_dataset(options);
    std::vector<std::string> texts;
    Document document;
    for (int i = 0; i < count && dataset->next(document); ++i) texts.push_back(document.text);
    return texts;
  }

  TestFolder folder_;
};

TEST_F(Mixture, TakesDocumentsInProportionToTheWeights) {
  constexpr int kCount = 20000;
  DatasetOptions options{.mixture = {entry("a", 7, 3), entry("b", 11, 1), entry("c", 2, 0.5)}};
  std::map<char, double> counts;
  for (const auto& text : first(options, kCount)) ++counts[text[0]];
  // Five standard deviations of a binomial count are below 0.018 * kCount.
  EXPECT_NEAR(counts['a'] / kCount, 3 / 4.5, 0.018);
  EXPECT_NEAR(counts['b'] / kCount, 1 / 4.5, 0.018);
  EXPECT_NEAR(counts['c'] / kCount, 0.5 / 4.5, 0.018);
}

TEST_F(Mixture, WalksEachDataSetInItsOwnOrderAndRound) {
  DatasetOptions options{.mixture = {entry("a", 3, 1), entry("b", 5, 1)}};
  std::map<char, int> next;
  std::map<char, int> sizes{{'a', 3}, {'b', 5}};
  for (const auto& text : first(options, 100)) {
    char name = text[0];
    ASSERT_EQ(text, fmt::format("{} {}", name, next[name]++ % sizes[name]));
  }
  EXPECT_EQ(next['a'] + next['b'], 100);
}

TEST_F(Mixture, DependsOnTheSeedAlone) {
  DatasetOptions options{.mixture = {entry("a", 3, 1), entry("b", 5, 1)}, .seed = 1};
  auto once = first(options, 100);
  EXPECT_EQ(first(options, 100), once);
  options.seed = 2;
  EXPECT_NE(first(options, 100), once);
}

TEST_F(Mixture, ShufflesPartsOfOneSizeApart) {
  DatasetOptions options{.mixture = {entry("a", 50, 1), entry("b", 50, 1)}, .shuffle = true};
  std::map<char, std::vector<std::string>> orders;
  for (const auto& text : first(options, 100)) orders[text[0]].push_back(text.substr(2));
  EXPECT_NE(orders['a'][0] + orders['a'][1] + orders['a'][2],
            orders['b'][0] + orders['b'][1] + orders['b'][2]);
}

TEST_F(Mixture, MixesTextWithReadyTokens) {
  auto dataset = make_dataset({.mixture = {entry("a", 3, 1), {.dataset = "synthetic"}},
                               .shuffle = true,
                               .vocab_size = kTestVocabSize});
  EXPECT_TRUE(dataset->needs_tokenizer());
  int tokenized = 0;
  Document document;
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(dataset->next(document));
    tokenized += document.tokenized;
    EXPECT_EQ(document.tokenized, document.text.empty());
  }
  EXPECT_GT(tokenized, 20);
  EXPECT_LT(tokenized, 80);
}

TEST_F(Mixture, StaysWithADocumentToItsEnd) {
  std::string text;
  while (text.size() < (size_t{3} << 20)) text += "A line of a text in parts.\n";
  auto dataset =
      make_dataset({.mixture = {{"text", folder_.write("long.txt", text)}, entry("a", 9, 1)}});
  Document document;
  std::string joined;
  int documents = 0;
  for (int i = 0; i < 60; ++i) {
    ASSERT_TRUE(dataset->next(document));
    ASSERT_EQ(document.begins, joined.empty());
    if (document.begins && document.ends) continue;
    joined += document.text;
    if (document.ends) {
      EXPECT_EQ(joined, text);
      joined.clear();
      ++documents;
    }
  }
  EXPECT_GT(documents, 3);
}

TEST_F(Mixture, ReportsAnEmptyPart) {
  auto dataset = make_dataset({.mixture = {entry("empty", 0, 1)}});
  Document document;
  EXPECT_THAT(message_of<DataError>([&] { dataset->next(document); }),
              HasSubstr("holds no document"));
}

}  // namespace
}  // namespace coeus
