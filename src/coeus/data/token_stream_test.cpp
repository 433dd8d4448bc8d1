#include "coeus/data/token_stream.h"

#include <gmock/gmock.h>

#include "coeus/base/error.h"
#include "coeus/data/test_folder.h"
#include "coeus/data/text_dataset.h"

namespace coeus {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::HasSubstr;

constexpr int32_t B = kTestBos;
constexpr int32_t E = kTestEos;

struct Row {
  std::vector<int32_t> tokens, labels;
  TokenAttributes attributes;
};

Row take(TokenStream& stream, size_t length) {
  Row row;
  row.tokens.resize(length);
  row.labels.resize(length);
  EXPECT_TRUE(stream.prepare(static_cast<int64_t>(length) + 1));
  row.attributes = stream.take(row.tokens, row.labels);
  return row;
}

class Packing : public testing::Test {
 protected:
  TokenStream& pack(const std::vector<std::string>& texts, TextEncoder encoder = byte_encoder(),
                    bool infinite = true) {
    dataset_ =
        make_dataset({.name = "json", .path = folder_.write("data.json", json_lines(texts))});
    return stream_.emplace(*dataset_, std::move(encoder), kTestVocabSize, infinite);
  }

  TestFolder folder_;
  std::unique_ptr<Dataset> dataset_;
  std::optional<TokenStream> stream_;
};

TEST_F(Packing, CutsTheStreamIntoPiecesOfSeqLenPlusOne) {
  auto& stream = pack({"abc", "", "defghij"});
  // B a b c E | B E B d e | f g h i j | E B a b c | …
  auto row = take(stream, 4);
  EXPECT_THAT(row.tokens, ElementsAre(B, 'a', 'b', 'c'));
  EXPECT_THAT(row.labels, ElementsAre('a', 'b', 'c', E));
  row = take(stream, 4);
  EXPECT_THAT(row.tokens, ElementsAre(B, E, B, 'd'));
  EXPECT_THAT(row.labels, ElementsAre(E, B, 'd', 'e'));
  row = take(stream, 4);
  EXPECT_THAT(row.tokens, ElementsAre('f', 'g', 'h', 'i'));
  row = take(stream, 4);
  EXPECT_THAT(row.tokens, ElementsAre(E, B, 'a', 'b'));
  EXPECT_THAT(row.labels, ElementsAre(B, 'a', 'b', 'c'));
}

TEST_F(Packing, CountsDocumentsAndOffsetsWithinTheRow) {
  auto& stream = pack({"abc", "", "defghij"});
  auto row = take(stream, 9);  // B a b c E B E B d, e
  EXPECT_THAT(row.attributes.index, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8));
  EXPECT_THAT(row.attributes.document, ElementsAre(0, 0, 0, 0, 0, 1, 1, 2, 2));
  EXPECT_THAT(row.attributes.offset, ElementsAre(0, 1, 2, 3, 4, 0, 1, 0, 1));
  row = take(stream, 7);  // f g h i j E B, a: the cut document begins anew
  EXPECT_THAT(row.attributes.index, ElementsAre(0, 1, 2, 3, 4, 5, 6));
  EXPECT_THAT(row.attributes.document, ElementsAre(0, 0, 0, 0, 0, 0, 1));
  EXPECT_THAT(row.attributes.offset, ElementsAre(0, 1, 2, 3, 4, 5, 0));
}

TEST_F(Packing, StartsWithDocumentZeroWhereARowStartsWithADocument) {
  auto& stream = pack({"abc", "de"});
  take(stream, 4);  // B a b c, E
  auto row = take(stream, 3);
  EXPECT_THAT(row.tokens, ElementsAre(B, 'd', 'e'));
  EXPECT_THAT(row.attributes.document, ElementsAre(0, 0, 0));
}

TEST_F(Packing, LeavesOutMarksThatTheTokenizerLacks) {
  auto encoder = byte_encoder();
  encoder.bos_id.reset();
  auto row = take(pack({"ab", "", "c"}, encoder), 5);
  EXPECT_THAT(row.tokens, ElementsAre('a', 'b', E, E, 'c'));
  EXPECT_THAT(row.attributes.document, ElementsAre(0, 0, 0, 1, 2));
  encoder.eos_id.reset();
  row = take(pack({"ab", "", "c"}, encoder), 5);
  EXPECT_THAT(row.tokens, ElementsAre('a', 'b', 'c', 'a', 'b'));
  EXPECT_THAT(row.attributes.document, ElementsAre(0, 0, 1, 2, 2));
  EXPECT_THAT(row.attributes.offset, ElementsAre(0, 1, 0, 0, 1));
}

TEST_F(Packing, KeepsTheDocumentAcrossItsParts) {
  auto path = folder_.write("long.txt", "line one\nline two\nline three\nend");
  TextDataset dataset({.name = "text", .path = path}, 8);
  TokenStream stream(dataset, byte_encoder(), kTestVocabSize, true);
  auto row = take(stream, 40);
  std::string text = "line one\nline two\nline three\nend";
  std::vector<int32_t> expected{B};
  expected.insert(expected.end(), text.begin(), text.end());
  expected.insert(expected.end(), {E, B, 'l', 'i', 'n', 'e', ' '});
  expected.resize(40);
  EXPECT_THAT(row.tokens, ElementsAreArray(expected));
  EXPECT_EQ(row.attributes.document[33], 0);
  EXPECT_EQ(row.attributes.offset[33], 33);
  EXPECT_EQ(row.attributes.document[34], 1);
  EXPECT_EQ(row.attributes.offset[34], 0);
}

TEST_F(Packing, SkipsAndTakesTheSamePieces) {
  std::vector<std::string> texts{"abc", "", "defghij", "k"};
  auto& stream = pack(texts);
  std::vector<Row> all;
  for (int i = 0; i < 40; ++i) all.push_back(take(stream, 6));
  auto& skipping = pack(texts);
  for (int i = 0; i < 40; ++i) {
    if (i % 3 == 0) {
      auto row = take(skipping, 6);
      EXPECT_EQ(row.tokens, all[i].tokens);
      EXPECT_EQ(row.attributes, all[i].attributes);
    } else {
      ASSERT_TRUE(skipping.prepare(7));
      skipping.skip(7);
    }
    EXPECT_EQ(skipping.tokens_taken(), 7 * (i + 1));
  }
}

TEST_F(Packing, EndsWithThePiecesThatAreFull) {
  auto& stream = pack({"abc", "de"}, byte_encoder(), false);  // 9 tokens
  EXPECT_TRUE(stream.prepare(4));
  stream.skip(4);
  EXPECT_TRUE(stream.prepare(4));
  stream.skip(4);
  EXPECT_FALSE(stream.prepare(4));
  EXPECT_FALSE(stream.prepare(4));
  EXPECT_TRUE(stream.prepare(1));
}

TEST_F(Packing, NamesATokenOutsideTheVocabulary) {
  auto encoder = byte_encoder();
  encoder.bos_id = encoder.eos_id = std::nullopt;
  auto path = folder_.write("data.json", json_lines({"abc", "x~"}));
  auto dataset = make_dataset({.name = "json", .path = path});
  TokenStream stream(*dataset, encoder, '~', true);
  EXPECT_TRUE(stream.prepare(3));
  EXPECT_THAT(message_of<DataError>([&] { stream.prepare(4); }),
              AllOf(HasSubstr(path + ":2"), HasSubstr("token 126"), HasSubstr("(\"~\")"),
                    HasSubstr("vocab_size is 126")));
}

TEST_F(Packing, ReportsANegativeToken) {
  auto encoder = byte_encoder();
  encoder.encode = [](std::string_view, std::vector<int32_t>& tokens) { tokens.push_back(-1); };
  auto& stream = pack({"a"}, encoder);
  EXPECT_THAT(message_of<DataError>([&] { stream.prepare(4); }), HasSubstr("token -1"));
}

TEST_F(Packing, ReportsMarksOutsideTheVocabulary) {
  auto encoder = byte_encoder();
  encoder.eos_id = 258;
  EXPECT_THAT(message_of<DataError>([&] { pack({"a"}, encoder); }),
              AllOf(HasSubstr("EOS is token 258"), HasSubstr("vocab_size is 258")));
}

TEST_F(Packing, ReportsAnEmptyDataSet) {
  for (bool infinite : {false, true}) {
    auto& stream = pack({}, byte_encoder(), infinite);
    EXPECT_THAT(message_of<DataError>([&] { stream.prepare(1); }), HasSubstr("is empty"));
  }
  auto encoder = byte_encoder();
  encoder.bos_id = encoder.eos_id = std::nullopt;
  auto& stream = pack({"", ""}, encoder);
  EXPECT_THAT(message_of<DataError>([&] { stream.prepare(1); }), HasSubstr("is empty"));
}

TEST_F(Packing, NeedsATokenizerForText) {
  EXPECT_THAT(message_of<ConfigError>([&] { pack({"a"}, {}); }), HasSubstr("tokenizer"));
}

TEST_F(Packing, RefusesAStateWhoseTokensAreOthers) {
  auto& stream = pack({"abc", "defghij"});
  ASSERT_TRUE(stream.prepare(8));
  stream.skip(8);
  auto state = stream.state();
  auto doubling = byte_encoder();
  doubling.encode = [](std::string_view text, std::vector<int32_t>& tokens) {
    for (unsigned char byte : text) tokens.insert(tokens.end(), {byte, byte});
  };
  auto& other = pack({"abc", "defghij"}, doubling);
  EXPECT_THAT(message_of<ConfigError>([&] { other.load_state(state); }),
              AllOf(HasSubstr("data.json:2"), HasSubstr("tokens are others")));

  auto unmarked = byte_encoder();
  unmarked.eos_id.reset();
  auto& third = pack({"abc", "defghij"}, unmarked);
  EXPECT_THAT(message_of<ConfigError>([&] { third.load_state(state); }),
              HasSubstr("eos was 257, is null"));
}

}  // namespace
}  // namespace coeus
