// The stream that TorchTitan makes of the reference text; runs when COEUS_PARITY names its folder.
#include <gmock/gmock.h>

#include <cstdlib>

#include "coeus/data/test_sha256.h"
#include "coeus/data/token_stream.h"
#include "coeus/data/tokenizer/tokenizer.h"

namespace coeus {
namespace {

TEST(ReferenceText, BecomesTheReferenceStream) {
  const char* folder = std::getenv("COEUS_PARITY");
  if (folder == nullptr) GTEST_SKIP() << "COEUS_PARITY is not set";
  auto dataset = make_dataset({.name = "c4_test", .path = std::string(folder) + "/data/data.json"});
  auto tokenizer =
      std::make_shared<const Tokenizer>(Tokenizer::from_folder(std::string(folder) + "/tokenizer"));
  TokenStream stream(*dataset, make_text_encoder(tokenizer), 2048, false);

  constexpr int64_t kTokens = 40 * 513;
  ASSERT_TRUE(stream.prepare(kTokens + 1));
  std::vector<int32_t> tokens(kTokens);
  std::vector<int32_t> labels(kTokens);
  stream.take(tokens, labels);
  EXPECT_THAT(std::span(tokens).first(16),
              testing::ElementsAre(2046, 44, 322, 301, 393, 881, 1540, 1877, 303, 1005, 288, 1361,
                                   284, 1726, 385, 321));
  EXPECT_EQ(sha256(tokens), "2eff5cec0e1d4a0a97212fe67cc9f71ae16c8aa84c0259b307e6b1ff17a8d289");
  while (stream.prepare(1)) stream.skip(1);
  EXPECT_EQ(stream.tokens_taken(), 706436);
}

}  // namespace
}  // namespace coeus
