#include "coeus/data/tokenizer/bpe_trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coeus/base/error.h"
#include "coeus/data/tokenizer/golden_files_test.h"
#include "coeus/data/tokenizer/tokenizer.h"

namespace coeus {
namespace {

TrainedBpe train(const std::vector<std::string>& texts, const BpeTrainerOptions& options) {
  size_t next = 0;
  return train_bpe(
      [&](std::string& document) {
        if (next == texts.size()) return false;
        document = texts[next++];
        return true;
      },
      options);
}

TEST(BpeTrainer, LearnsWhatTheLibrarysTrainerLearns) {
  const auto texts = read_golden("hostile.json").get<std::vector<std::string>>();
  const auto expected = read_golden("trained.json");
  ASSERT_EQ(expected.size(), 2u);
  for (const auto& [kind, merges] : expected.items()) {
    const auto trained = train(texts, {.vocab_size = 502, .kind = kind});
    EXPECT_EQ(nlohmann::json::parse(trained.tokenizer_json)["model"]["merges"], merges) << kind;
  }
}

TEST(BpeTrainer, WritesATokenizerThatEncodesAndDecodes) {
  const auto texts = read_golden("hostile.json").get<std::vector<std::string>>();
  for (const auto& kind : tokenizer_kinds()) {
    const TemporaryFolder folder;
    write_tokenizer(train(texts, {.vocab_size = 400, .kind = kind}), folder.path() / "new");
    const auto tokenizer = Tokenizer::from_folder(folder.path() / "new");
    EXPECT_EQ(tokenizer.vocab_size(), 400) << kind;
    const auto ids = tokenizer.encode("Hello, wörld 123!", {.add_bos = true, .add_eos = true});
    EXPECT_EQ(ids.front(), 398) << kind;
    EXPECT_EQ(ids.back(), 399) << kind;
    EXPECT_EQ(tokenizer.decode(ids), "Hello, wörld 123!") << kind;
  }
}

TEST(BpeTrainer, SpecialTokensTakeTheLastIds) {
  const auto trained = train(
      {"abab"},
      {.vocab_size = 259, .special_tokens = {"<pad>"}, .bos_token = "<s>", .eos_token = "</s>"});
  const auto file = nlohmann::json::parse(trained.tokenizer_json);
  EXPECT_EQ(file["added_tokens"][0]["content"], "<pad>");
  EXPECT_EQ(file["added_tokens"][0]["id"], 256);
  EXPECT_EQ(file["added_tokens"][1]["content"], "<s>");
  EXPECT_EQ(file["added_tokens"][2]["content"], "</s>");
  EXPECT_EQ(file["added_tokens"][2]["id"], 258);
}

TEST(BpeTrainer, StopsWhenNothingIsLeftToMerge) {
  const auto trained = train({"abab"}, {.vocab_size = 1000});
  EXPECT_EQ(trained.vocab_size, 260);  // 256 bytes, ab, abab, BOS, EOS
}

TEST(BpeTrainer, RefusesWhatCannotWork) {
  EXPECT_THROW(train({"a"}, {.vocab_size = 257}), Error);
  EXPECT_THROW(train({}, {}), Error);
  EXPECT_THROW(train({""}, {}), Error);
  EXPECT_THROW(train({"a"}, {.kind = "bert"}), Error);
  EXPECT_THROW(train({"a"}, {.special_tokens = {""}}), Error);
  EXPECT_THROW(train({"a"}, {.special_tokens = {"<|end_of_text|>"}}), Error);
  EXPECT_THROW(train({"abab"}, {.special_tokens = {"ab"}}), Error);
  EXPECT_THROW(write_tokenizer(train({"a"}, {}), "/proc/no/such/folder"), Error);
}

}  // namespace
}  // namespace coeus
