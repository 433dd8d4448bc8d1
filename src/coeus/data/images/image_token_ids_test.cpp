#include "coeus/data/images/image_token_ids.h"

#include <gmock/gmock.h>

#include <optional>

#include "coeus/base/error.h"
#include "coeus/data/test_folder.h"
#include "coeus/data/tokenizer/bpe_trainer.h"
#include "coeus/data/tokenizer/tokenizer.h"

namespace coeus {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class ImageTokens : public testing::Test {
 protected:
  Tokenizer train(const std::vector<std::string>& special_tokens, const std::string& text) {
    bool given = false;
    const auto next = [&](std::string& document) {
      document = text;
      return !std::exchange(given, true);
    };
    write_tokenizer(train_bpe(next, {.vocab_size = 300, .special_tokens = special_tokens}),
                    folder_.path());
    return Tokenizer::from_folder(folder_.path());
  }
  TestFolder folder_;
};

TEST_F(ImageTokens, AreFoundByName) {
  const Tokenizer tokenizer =
      train({"<|image|>", "<|begin_of_image|>", "<|end_of_image|>", "<|pad|>"}, "a text");
  const ImageTokenIds ids = image_token_ids(tokenizer);
  EXPECT_EQ(tokenizer.id_to_token(ids.image), "<|image|>");
  EXPECT_EQ(tokenizer.id_to_token(ids.begin), "<|begin_of_image|>");
  EXPECT_EQ(tokenizer.id_to_token(ids.end), "<|end_of_image|>");
  EXPECT_EQ(tokenizer.id_to_token(ids.pad), "<|pad|>");
}

TEST_F(ImageTokens, AreAskedForByNameWhenTheyAreMissing) {
  const Tokenizer tokenizer = train({"<|image|>", "<|pad|>"}, "a text");
  EXPECT_THAT(message_of<DataError>([&] { image_token_ids(tokenizer); }),
              AllOf(HasSubstr("no special token <|begin_of_image|>, <|end_of_image|>;"),
                    HasSubstr("--image-tokens"), Not(HasSubstr("<|pad|>"))));
}

}  // namespace
}  // namespace coeus
