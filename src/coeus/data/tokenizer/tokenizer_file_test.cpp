// Files that are broken, or ask for what is not there: each gets an error that says what and where.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coeus/base/error.h"
#include "coeus/data/tokenizer/golden_files_test.h"
#include "coeus/data/tokenizer/tokenizer.h"

namespace coeus {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;

json smallest() {
  return json::parse(R"({
    "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
    "pre_tokenizer": null, "post_processor": null, "decoder": null,
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}})");
}

json added(const std::string& content, int64_t id) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", true}};
}

std::string complaint(const std::string& text, const std::string& config = "") {
  const TemporaryFolder folder;
  folder.write("tokenizer.json", text);
  if (!config.empty()) folder.write("tokenizer_config.json", config);
  try {
    (void)Tokenizer::from_folder(folder.path());
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr(folder.path().string()));
    return error.what();
  }
  return "none";
}
std::string complaint(const json& file) { return complaint(file.dump()); }

std::string complaint_with(const char* pointer, const json& value) {
  json file = smallest();
  file[json::json_pointer(pointer)] = value;
  return complaint(file);
}

TEST(TokenizerFile, SmallestFileIsRead) { EXPECT_EQ(complaint(smallest()), "none"); }

TEST(TokenizerFile, BothFormsOfMergesAreRead) {
  EXPECT_EQ(complaint_with("/model/merges", json::parse(R"([["a","b"]])")), "none");
  EXPECT_THAT(complaint_with("/model/merges", json::parse(R"(["ab"])")),
              HasSubstr("model.merges[0]: 'ab' is not two tokens"));
  EXPECT_THAT(complaint_with("/model/merges", json::parse(R"([["a"]])")),
              HasSubstr("a merge joins two tokens"));
  EXPECT_THAT(complaint_with("/model/merges", json::parse(R"([["a", 1]])")),
              HasSubstr("model.merges[0][1]: must be a string"));
}

TEST(TokenizerFile, MissingAndCorruptFilesAreNamed) {
  EXPECT_THROW((void)Tokenizer::from_folder("/no/such/folder"), DataError);
  const TemporaryFolder empty;
  EXPECT_THROW((void)Tokenizer::from_folder(empty.path()), DataError);
  EXPECT_THAT(complaint(std::string("")), HasSubstr("is not JSON"));
  EXPECT_THAT(complaint(std::string("{\n \"a\": ]")), HasSubstr("line 2, column 7"));
  EXPECT_THAT(complaint(std::string("\"\xff\"")), HasSubstr("is not JSON"));
  EXPECT_THAT(complaint(std::string("[]")), HasSubstr("must be an object"));
  EXPECT_THAT(complaint(std::string("{}")), HasSubstr("'model' is missing"));
  EXPECT_THAT(complaint(smallest().dump().substr(0, 150)), HasSubstr("is not JSON"));
}

TEST(TokenizerFile, WrongTypesAreNamedWithTheirPlace) {
  EXPECT_THAT(complaint_with("/model/vocab", json::array()),
              HasSubstr("model.vocab: must be an obj"));
  EXPECT_THAT(complaint_with("/model/vocab/a", "0"), HasSubstr("model.vocab.a: must be a whole"));
  EXPECT_THAT(complaint_with("/model/vocab/a", 0.5), HasSubstr("must be a whole number"));
  EXPECT_THAT(complaint_with("/model/merges", 7), HasSubstr("model.merges: must be a list"));
  EXPECT_THAT(complaint_with("/added_tokens", json::object()),
              HasSubstr("added_tokens: must be a l"));
  EXPECT_THAT(complaint_with("/added_tokens", json::array({5})),
              HasSubstr("added_tokens[0]: must be an object"));
  EXPECT_THAT(complaint_with("/normalizer", "NFC"), HasSubstr("normalizer: must be an object"));
  EXPECT_THAT(complaint_with("/pre_tokenizer", {{"type", 3}}), HasSubstr("pre_tokenizer.type"));
  EXPECT_THAT(complaint_with("/model/byte_fallback", 1), HasSubstr("must be true or false"));
  EXPECT_THAT(complaint_with("/version", "2.0"), HasSubstr("only 1.0"));
}

TEST(TokenizerFile, IdsThatCannotBeAreRefused) {
  EXPECT_THAT(complaint_with("/model/vocab/a", -1), HasSubstr("must lie between 0 and 16777215"));
  EXPECT_THAT(complaint_with("/model/vocab/a", 1u << 31), HasSubstr("must lie between"));
  EXPECT_THAT(complaint_with("/model/vocab/a", UINT64_MAX), HasSubstr("must lie between"));
  EXPECT_THAT(complaint_with("/model/vocab/a", 1), HasSubstr("have the same id 1"));
  EXPECT_THAT(complaint_with("/model/merges", json::array({"a c"})),
              HasSubstr("needs the token 'c'"));
  EXPECT_THAT(complaint_with("/added_tokens", json::array({added("x", 1 << 30)})),
              HasSubstr("added_tokens[0].id"));
  EXPECT_THAT(complaint_with("/added_tokens", json::array({added("x", 3), added("x", 4)})),
              HasSubstr("twice"));
  EXPECT_THAT(complaint_with("/added_tokens", json::array({added("", 3)})),
              HasSubstr("without content"));
  json gap = smallest();
  gap["model"]["vocab"]["z"] = 5;  // 4 tokens: the first added one gets id 4, the second 5
  gap["added_tokens"] = json::array({added("x", 4), added("y", 5)});
  EXPECT_THAT(complaint(gap), HasSubstr("'y' gets the id 5 of the model's token 'z'"));
}

TEST(TokenizerFile, WhatIsNotSupportedIsRefusedByName) {
  const auto type = [](const char* name) { return json{{"type", name}}; };
  EXPECT_THAT(complaint_with("/normalizer", type("Precompiled")),
              AllOf(HasSubstr("normalizer"), HasSubstr("'Precompiled' is not supported")));
  EXPECT_THAT(complaint_with("/pre_tokenizer", type("BertPreTokenizer")),
              HasSubstr("'BertPreTokenizer' is not supported"));
  EXPECT_THAT(complaint_with("/post_processor", type("BertProcessing")),
              HasSubstr("'BertProcessing' is not supported"));
  EXPECT_THAT(complaint_with("/decoder", type("CTC")), HasSubstr("'CTC' is not supported"));
  EXPECT_THAT(complaint_with("/model/type", "WordPiece"),
              HasSubstr("'WordPiece' is not supported"));
  EXPECT_THAT(complaint_with("/model/dropout", 0.1), HasSubstr("model.dropout"));
  EXPECT_THAT(complaint_with("/model/end_of_word_suffix", "</w>"), HasSubstr("end_of_word_suffix"));
  EXPECT_THAT(complaint_with("/truncation", json{{"max_length", 5}}), HasSubstr("truncation"));
  EXPECT_THAT(complaint_with("/padding", json::object()), HasSubstr("padding"));
  EXPECT_THAT(complaint_with("/pre_tokenizer",
                             {{"type", "Digits"}, {"individual_digits", true}, {"radix", 16}}),
              HasSubstr("'radix' is not a known setting"));
  EXPECT_EQ(complaint_with("/model/dropout", 0.0), "none");
  EXPECT_EQ(complaint_with("/model/end_of_word_suffix", ""), "none");
}

TEST(TokenizerFile, BadExpressionsAreNamed) {
  const auto split = [](const char* pattern) {
    return json{{"type", "Split"},
                {"pattern", {{"Regex", pattern}}},
                {"behavior", "Isolated"},
                {"invert", false}};
  };
  EXPECT_THAT(complaint_with("/pre_tokenizer", split("(a")),
              AllOf(HasSubstr("pre_tokenizer.pattern.Regex"), HasSubstr("not closed")));
  json wrong = split("a");
  wrong["behavior"] = "Sideways";
  EXPECT_THAT(complaint_with("/pre_tokenizer", wrong), HasSubstr("'Sideways' is not a behaviour"));
}

TEST(TokenizerFile, TemplatesMustNameTheirTokens) {
  json post = json::parse(R"({"type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [], "special_tokens": {}})");
  EXPECT_THAT(complaint_with("/post_processor", post),
              HasSubstr("post_processor.special_tokens: '<s>' is missing"));
  post["single"] = json::parse(R"([{"Sequence": {"id": "B", "type_id": 0}}])");
  EXPECT_THAT(complaint_with("/post_processor", post), HasSubstr("the sequence A only"));
}

TEST(TokenizerFile, DeepNestingIsRefused) {
  json sequence = {{"type", "NFC"}};
  for (int i = 0; i < 1000; ++i) {
    sequence = {{"type", "Sequence"}, {"normalizers", json::array({sequence})}};
  }
  EXPECT_THAT(complaint_with("/normalizer", sequence), HasSubstr("16 deep"));
  EXPECT_THAT(complaint(std::string(2'000'000, '[')), HasSubstr("is not JSON"));
}

TEST(TokenizerFile, TokensOfTheConfigAloneAreAdded) {
  json file = smallest();
  file["added_tokens"] = json::array({added("<s>", 3)});
  const TemporaryFolder folder;
  folder.write("tokenizer.json", file.dump());
  folder.write("tokenizer_config.json", R"({"eos_token": "<e>", "bos_token": {"content": "<s>"},
    "pad_token": null, "added_tokens_decoder": {
      "900": {"content": "<z>", "special": false, "normalized": false},
      "20": {"content": "<y>"}, "3": {"content": "<s>", "rstrip": true}}})");
  const auto tokenizer = Tokenizer::from_folder(folder.path());
  EXPECT_EQ(tokenizer.bos_id(), 3);
  EXPECT_EQ(tokenizer.eos_id(), 4);
  EXPECT_EQ(tokenizer.token_to_id("<z>"), 5);  // in the order of the file
  EXPECT_EQ(tokenizer.token_to_id("<y>"), 6);
  EXPECT_EQ(tokenizer.vocab_size(), 7);
  EXPECT_THAT(tokenizer.encode("ab<z>a<e>"), testing::ElementsAre(2, 5, 0, 4));
  EXPECT_EQ(tokenizer.decode(std::vector<int32_t>{0, 5, 4}), "a <z>");
}

TEST(TokenizerFile, ConfigMayBeMalformedToo) {
  const std::string file = smallest().dump();
  EXPECT_EQ(complaint(file, R"({"bos_token": "a", "eos_token": {"content": "b"}})"), "none");
  EXPECT_EQ(complaint(file, R"({"bos_token": null})"), "none");
  EXPECT_THAT(complaint(file, R"({"eos_token": ""})"), HasSubstr("without content"));
  EXPECT_THAT(complaint(file, R"({"added_tokens_decoder": []})"), HasSubstr("must be an object"));
  EXPECT_THAT(complaint(file, R"({"eos_token": 7})"), HasSubstr("eos_token: must be a string"));
  EXPECT_THAT(complaint(file, R"({"eos_token": {}})"), HasSubstr("'content' is missing"));
  EXPECT_THAT(complaint(file, "{"), HasSubstr("is not JSON"));
}

}  // namespace
}  // namespace coeus
