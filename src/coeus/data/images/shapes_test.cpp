#include "coeus/data/images/shapes.h"

#include <gmock/gmock.h>

#include <array>
#include <map>
#include <set>

#include "coeus/base/error.h"
#include "coeus/data/dataset.h"
#include "coeus/data/images/image_file.h"
#include "coeus/data/test_folder.h"

namespace coeus {
namespace {

namespace fs = std::filesystem;

std::map<std::string, std::string> files_of(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) {
      files[fs::relative(entry.path(), folder).string()] = file_text(entry.path());
    }
  }
  return files;
}

TEST(Shapes, AreADataSetOfTextsAndImages) {
  TestFolder folder;
  write_shapes(folder / "shapes", 16, 5);
  auto dataset = make_dataset({.name = "image_text", .path = folder / "shapes"});
  Document document;
  std::set<std::string> suffixes;
  int64_t samples = 0;
  while (dataset->next(document)) {
    ++samples;
    EXPECT_EQ(document.images.size(), samples % 8 == 0 ? 2u : 1u);
    for (const auto& path : document.images) {
      suffixes.insert(path.extension());
      const ImageSize size = read_image(path).size;
      EXPECT_EQ(size, read_image_size(path));
      EXPECT_TRUE(size.width >= 40 && size.width <= 112 && size.height >= 40 && size.height <= 112);
    }
  }
  EXPECT_EQ(samples, 16);
  EXPECT_EQ(suffixes, (std::set<std::string>{".png", ".jpg"}));
}

TEST(Shapes, DependOnCountAndSeedAlone) {
  TestFolder folder;
  write_shapes(folder / "a", 9, 1);
  write_shapes(folder / "b", 9, 1);
  write_shapes(folder / "c", 9, 2);
  const auto files = files_of(folder / "a");
  EXPECT_EQ(files.size(), 11u);
  EXPECT_EQ(files_of(folder / "b"), files);
  EXPECT_NE(files_of(folder / "c"), files);
}

TEST(Shapes, ShowTheColoursThatTheCaptionNames) {
  const std::map<std::string, std::array<uint8_t, 3>> colours = {
      {"red", {214, 40, 40}},     {"green", {42, 157, 63}},   {"blue", {38, 84, 214}},
      {"yellow", {240, 200, 20}}, {"purple", {130, 50, 170}}, {"black", {20, 20, 20}}};
  std::set<std::string> captions;
  for (int64_t number = 0; number < 200; ++number) {
    const CaptionedImage picture = draw_shapes(0, number);
    captions.insert(picture.caption);
    const std::string words = " " + picture.caption + " ";
    for (const auto& [name, rgb] : colours) {
      int64_t pixels = 0;
      for (size_t i = 0; i < picture.image.pixels.size(); i += 3) {
        pixels += std::equal(rgb.begin(), rgb.end(),
                             picture.image.pixels.begin() + static_cast<ptrdiff_t>(i));
      }
      const bool named = words.find(" " + name + " ") != std::string::npos;
      EXPECT_EQ(pixels > 20, named) << picture.caption << " of " << pixels << " in " << name;
    }
  }
  EXPECT_GT(captions.size(), 100u);
}

TEST(Shapes, RefuseAFolderThatHoldsSomething) {
  TestFolder folder;
  folder.write("shapes/mine.txt", "keep");
  EXPECT_THROW(write_shapes(folder / "shapes", 2, 0), Error);
  EXPECT_EQ(files_of(folder / "shapes").size(), 1u);
  EXPECT_THROW(write_shapes(folder / "other", 0, 0), ConfigError);
}

}  // namespace
}  // namespace coeus
