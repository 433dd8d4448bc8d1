#include "coeus/data/tokenizer/vocab_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "coeus/base/error.h"
#include "coeus/data/tokenizer/golden_files_test.h"
#include "coeus/data/tokenizer/tokenizer.h"

namespace coeus {
namespace {

using testing::HasSubstr;

std::string merges_of(const nlohmann::json& file) {
  std::string lines = "#version: 0.2\n";
  for (const auto& merge : file["model"]["merges"]) {
    lines += merge.is_string() ? merge.get<std::string>()
                               : merge[0].get<std::string>() + " " + merge[1].get<std::string>();
    lines += "\n";
  }
  return lines;
}

/// GPT-2's kind of tokenizer, as it stands in a tokenizer.json, but without added tokens.
nlohmann::json gpt2() {
  auto file = read_golden("gpt2/tokenizer.json");
  file["added_tokens"] = nlohmann::json::array();
  return file;
}

void expect_same_ids(const TemporaryFolder& folder, const std::string& config = "") {
  const TemporaryFolder whole;
  whole.write("tokenizer.json", gpt2().dump());
  if (!config.empty()) {
    whole.write("tokenizer_config.json", config);
    folder.write("tokenizer_config.json", config);
  }
  const auto wanted = Tokenizer::from_folder(whole.path());
  const auto got = Tokenizer::from_folder(folder.path());
  EXPECT_EQ(got.bos_id(), wanted.bos_id());
  EXPECT_EQ(got.vocab_size(), wanted.vocab_size());
  for (const std::string text :
       {"Hello, wörld!  It's 1234 ## ### <|endoftext|> \n\n天地", "", " a"}) {
    const auto ids = got.encode(text);
    EXPECT_EQ(ids, wanted.encode(text)) << text;
    EXPECT_EQ(got.decode(ids), wanted.decode(ids)) << text;
  }
}

std::string complaint(const TemporaryFolder& folder) {
  try {
    (void)Tokenizer::from_folder(folder.path());
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr(folder.path().string()));
    return error.what();
  }
  return "none";
}

TEST(VocabFiles, GiveTheIdsOfTheSameTokenizerInOneFile) {
  const TemporaryFolder folder;
  folder.write("vocab.json", gpt2()["model"]["vocab"].dump());
  folder.write("merges.txt", merges_of(gpt2()));
  expect_same_ids(folder);
  expect_same_ids(folder, R"({"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"})");
}

TEST(VocabFiles, AListOfTokensServesToo) {
  const TemporaryFolder folder;
  const auto file = gpt2();
  std::map<int, std::string> by_id;
  for (const auto& [token, id] : file["model"]["vocab"].items()) by_id[id] = token;
  std::string lines;
  int next = 0;
  for (const auto& [id, token] : by_id) {
    for (; next < id; ++next) lines += "\n";
    lines += token + "\r\n";
    ++next;
  }
  folder.write("vocab.txt", lines);
  folder.write("merges.txt", merges_of(file));
  expect_same_ids(folder);
}

TEST(VocabFiles, ATokenStandsOnOneLine) {
  const TemporaryFolder folder;
  folder.write("vocab.txt", "a\nb\n\n\nab\nb\n");
  folder.write("merges.txt", "a b\n");
  EXPECT_THAT(complaint(folder), HasSubstr("vocab.txt:6: the token 'b' stands on line 2 already"));
  folder.write("vocab.txt", "a\nb\n\n\nab\n");
  EXPECT_EQ(complaint(folder), "none");
}

TEST(VocabFiles, AMergeMayBeginWithTheSignOfAComment) {
  const TemporaryFolder folder;
  folder.write("vocab.json", R"({"#": 0, "##": 1})");
  folder.write("merges.txt", "#version: 0.2\n# #\n");
  EXPECT_THAT(Tokenizer::from_folder(folder.path()).encode("##"), testing::ElementsAre(1));
}

TEST(VocabFiles, WhatIsMissingIsNamed) {
  const TemporaryFolder folder;
  folder.write("config.json", "{}");
  EXPECT_THAT(complaint(folder),
              HasSubstr("holds no tokenizer.json, and no vocab.json and merges.txt instead; there "
                        "is config.json"));
  folder.write("merges.txt", "a b\n");
  EXPECT_THAT(complaint(folder), HasSubstr("add vocab.json"));
  const TemporaryFolder other;
  other.write("vocab.json", R"({"a": 0})");
  EXPECT_THAT(complaint(other), HasSubstr("has vocab.json, but neither tokenizer.json nor merges"));
}

TEST(VocabFiles, MalformedFilesAreNamed) {
  const TemporaryFolder folder;
  folder.write("vocab.json", R"({"a": 0, "b": 1, "ab": 2})");
  folder.write("merges.txt", "a b\n\nab\n");
  EXPECT_THAT(complaint(folder), HasSubstr("merges.txt:3: 'ab' is not two tokens"));
  folder.write("merges.txt", "a c\n");
  EXPECT_THAT(complaint(folder), HasSubstr("vocab.json with merges.txt"));
  folder.write("merges.txt", "a b\n");
  EXPECT_EQ(complaint(folder), "none");
  folder.write("vocab.json", "{");
  EXPECT_THAT(complaint(folder), HasSubstr("vocab.json"));
  folder.write("vocab.json", R"({"a": -1})");
  EXPECT_THAT(complaint(folder), HasSubstr("vocab.json"));
}

}  // namespace
}  // namespace coeus
