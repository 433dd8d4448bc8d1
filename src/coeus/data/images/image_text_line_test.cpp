#include "coeus/data/images/image_text_line.h"

#include <gmock/gmock.h>

#include "coeus/base/error.h"
#include "coeus/data/test_folder.h"

namespace coeus {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class ImageTextLine : public testing::Test {
 protected:
  Document read(const std::string& line) {
    file_ = {.path = folder_.write("data/lines.jsonl", "\n" + line + "\n")};
    Document document;
    read_image_text_line(line, {&file_, 1}, document);
    return document;
  }
  std::string complaint(const std::string& line) {
    const std::string message = message_of<DataError>([&] { read(line); });
    EXPECT_THAT(message, HasSubstr("data/lines.jsonl:2: "));
    EXPECT_THAT(message, HasSubstr("expected one JSON object a line"));
    return message;
  }
  std::filesystem::path in_folder(const std::string& name) {
    return folder_.path() / "data" / name;
  }

  TestFolder folder_;
  DataFile file_;
};

TEST_F(ImageTextLine, NamesImagesInTheOrderOfTheirPlaces) {
  const Document document =
      read(R"({"text": "A <|image|> and <|image|>.", "images": ["a.png", "sub/b.jpg"], "id": 7})");
  EXPECT_EQ(document.text, "A <|image|> and <|image|>.");
  EXPECT_THAT(document.images, ElementsAre(in_folder("a.png"), in_folder("sub/b.jpg")));
  EXPECT_TRUE(document.begins && document.ends && !document.tokenized);
}

TEST_F(ImageTextLine, PutsImagesWithoutAPlaceFirst) {
  EXPECT_EQ(read(R"({"text": "A cat.", "image": "/x/cat.png"})").text, "<|image|>A cat.");
  EXPECT_THAT(read(R"({"text": "A cat.", "image": "/x/cat.png"})").images,
              ElementsAre("/x/cat.png"));
  EXPECT_EQ(read(R"({"text": "two", "images": ["a", "b"]})").text, "<|image|><|image|>two");
}

TEST_F(ImageTextLine, TakesTorchTitansLists) {
  const Document document = read(
      R"({"texts": [null, "a cat", null, "a dog"], "images": ["c.png", null, "d.png", null]})");
  EXPECT_EQ(document.text, "<|image|>a cat<|image|>a dog");
  EXPECT_THAT(document.images, ElementsAre(in_folder("c.png"), in_folder("d.png")));
}

TEST_F(ImageTextLine, TakesTextAlone) {
  EXPECT_EQ(read(R"({"text": "no image"})").text, "no image");
  EXPECT_THAT(read(R"({"text": "no image", "images": []})").images, IsEmpty());
}

TEST_F(ImageTextLine, RefusesWhatHasNoneOfTheForms) {
  EXPECT_THAT(complaint(R"({"text": "a <|image|>", "images": ["a", "b"]})"),
              HasSubstr("the text has 1 <|image|>, but there are 2 images"));
  EXPECT_THAT(complaint(R"({"text": "a <|image|>"})"), HasSubstr("but there are 0 images"));
  EXPECT_THAT(complaint(R"({"images": ["a"]})"), HasSubstr("no key \"text\""));
  EXPECT_THAT(complaint(R"({"text": "a", "texts": []})"), HasSubstr("both \"text\" and \"texts\""));
  EXPECT_THAT(complaint(R"({"text": "a", "image": "a", "images": ["a"]})"),
              HasSubstr("both \"image\" and \"images\""));
  EXPECT_THAT(complaint(R"({"text": "a", "images": "a.png"})"), HasSubstr("of type string"));
  EXPECT_THAT(complaint(R"({"text": "a", "images": [null]})"), HasSubstr("null in \"images\""));
  EXPECT_THAT(complaint(R"({"text": "a", "image": ""})"), HasSubstr("an empty name"));
  EXPECT_THAT(complaint(R"({"text": ["a"], "image": "a.png"})"), HasSubstr("array in \"text\""));
  EXPECT_THAT(complaint(R"({"text": "a", "image": "https://x/a.png"})"),
              HasSubstr("nothing is fetched"));
  EXPECT_THAT(complaint(R"({"texts": ["a", null], "images": [null]})"), HasSubstr("its length"));
  EXPECT_THAT(complaint(R"({"texts": ["a"], "images": ["b"]})"), HasSubstr("must be null"));
  EXPECT_THAT(complaint(R"({"texts": ["<|image|>"], "images": [null]})"),
              HasSubstr("give the image in \"images\""));
  EXPECT_THAT(complaint("[1]"), HasSubstr("found an array"));
  EXPECT_THAT(complaint("{\"text\": "), HasSubstr("not valid JSON"));
}

}  // namespace
}  // namespace coeus
