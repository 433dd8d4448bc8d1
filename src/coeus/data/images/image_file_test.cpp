#include "coeus/data/images/image_file.h"

#include <gmock/gmock.h>
#include <turbojpeg.h>

#include <memory>

#include "coeus/base/error.h"
#include "coeus/data/images/jpeg_file.h"
#include "coeus/data/images/png_file.h"
#include "coeus/data/test_folder.h"

namespace coeus {
namespace {

using testing::AllOf;
using testing::Each;
using testing::ElementsAreArray;
using testing::HasSubstr;

std::string from_hex(std::string_view hex) {
  std::string bytes;
  for (size_t i = 0; i < hex.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
  }
  return bytes;
}

std::vector<uint8_t> grey(const std::vector<uint8_t>& values) {
  std::vector<uint8_t> pixels;
  for (const uint8_t value : values) pixels.insert(pixels.end(), 3, value);
  return pixels;
}

// Files of 4 x 2 pixels that Pillow (pypng, those of sixteen bits and the interlaced one) wrote.
constexpr std::string_view kGrey =
    "89504e470d0a1a0a0000000d49484452000000040000000208000000005ac322bf0000001249444154789c6360b0a9"
    "f8cfc8c5c5c505000b9501dd1d2029870000000049454e44ae426082";
constexpr std::string_view kGreyAlpha =
    "89504e470d0a1a0a0000000d4948445200000004000000020804000000d5a1b5e80000001b49444154789c6360f86f"
    "73b8a2fd3f0323d757ae6f5cdfb8be010045bb07fd777160a30000000049454e44ae426082";
constexpr std::string_view kGrey16 =
    "89504e470d0a1a0a0000000d49484452000000040000000210000000000a53fefc0000001a49444154789c636060b0"
    "b1a9a8f8ff9f818b4b44444e4e4303002a3d042f74b777c60000000049454e44ae426082";
constexpr std::string_view kBits =
    "89504e470d0a1a0a0000000d49484452000000040000000201000000"
    "0057d340ce0000000c49444154789c63086038000001b4011178d804690000000049454e44ae426082";
constexpr std::string_view kRgba =
    "89504e470d0a1a0a0000000d49484452000000040000000208060000007fa87d630000001d49444154789c636430cd"
    "62505555b581e276c6e80947b9747474e018006c930652e875d7480000000049454e44ae426082";
constexpr std::string_view kRgb16 =
    "89504e470d0a1a0a0000000d4948445200000004000000021002000000a05a36770000003d49444154789c013200cd"
    "ff00000035356a6a25255a5a8f8f4a4a7f7fb4b46f6fa4a4d9d9005b5b9090c5c58787bcbcf1f1b3b3e8e81d1ddfdf"
    "1414494914a617ddb44e70100000000049454e44ae426082";
constexpr std::string_view kPalette =
    "89504e470d0a1a0a0000000d494844520000000400000002020300000002c695f00000000c504c5445ff000000ff00"
    "0000ff090807a2d262c00000000c49444154789c639066780200013901004564919b0000000049454e44ae426082";
constexpr std::string_view kTransparentPalette =
    "89504e470d0a1a0a0000000d494844520000000400000002020300000002c695f00000000c504c5445ff000000ff00"
    "0000ff090807a2d262c00000000274524e53ff00e5b7304a0000000c49444154789c63906678020001390100456491"
    "9b0000000049454e44ae426082";
constexpr std::string_view kInterlaced =
    "89504e470d0a1a0a0000000d4948445200000009000000090800000001b2fd695a0000006f49444154789c0164009b"
    "ff00001800d8f0000c00e4006c788400061200727e00deea00363c42484e00a2a8aeb4ba0003090f1500393f454b00"
    "6f757b8100a5abb1b700dbe1e7ed001b1e2124272a2d3033005154575a5d6063666900878a8d909396999c9f00bdc0"
    "c3c6c9cccfd2d55c5625f9c3b1fd310000000049454e44ae426082";

const std::vector<uint8_t> kGreyValues = {0, 60, 120, 255, 10, 20, 30, 40};
const std::vector<uint8_t> kColours = {0,  53,  106, 37,  90,  143, 74,  127, 180, 111, 164, 217,
                                       91, 144, 197, 135, 188, 241, 179, 232, 29,  223, 20,  73};
const std::vector<uint8_t> kPaletteColours = {255, 0, 0, 0, 255, 0,   0, 0,   255, 9,   8, 7,
                                              9,   8, 7, 0, 0,   255, 0, 255, 0,   255, 0, 0};

std::vector<uint8_t> decoded(std::string_view hex) { return decode_png(from_hex(hex)).pixels; }

TEST(Png, IsReadAsRgbWhateverItHolds) {
  EXPECT_EQ(decoded(kGrey), grey(kGreyValues));
  EXPECT_EQ(decoded(kGreyAlpha), grey(kGreyValues));
  EXPECT_EQ(decoded(kGrey16), grey(kGreyValues));
  EXPECT_EQ(decoded(kBits), grey({0, 255, 0, 255, 255, 255, 0, 0}));
  EXPECT_EQ(decoded(kRgba), kColours);
  EXPECT_EQ(decoded(kRgb16), kColours);
  EXPECT_EQ(decoded(kPalette), kPaletteColours);
  EXPECT_EQ(decoded(kTransparentPalette), kPaletteColours);
  std::vector<uint8_t> ramp;
  for (int i = 0; i < 81; ++i) ramp.push_back(static_cast<uint8_t>(i * 3));
  EXPECT_EQ(decoded(kInterlaced), grey(ramp));
}

TEST(Png, IsReadAsItWasWritten) {
  const Image image{{4, 2}, kColours};
  const Image again = decode_png(encode_png(image));
  EXPECT_EQ(again.size, image.size);
  EXPECT_EQ(again.pixels, image.pixels);
}

/// A JPEG of 20 x 12 pixels of one colour, given as libjpeg-turbo's format has it.
std::string jpeg(int format, const std::vector<uint8_t>& colour, int subsampling, int flags = 0) {
  std::vector<uint8_t> pixels;
  for (int i = 0; i < 20 * 12; ++i) pixels.insert(pixels.end(), colour.begin(), colour.end());
  const std::unique_ptr<void, int (*)(void*)> handle(tjInitCompress(), tjDestroy);
  unsigned char* bytes = nullptr;
  unsigned long size = 0;
  EXPECT_EQ(tjCompress2(handle.get(), pixels.data(), 20, 0, 12, format, &bytes, &size, subsampling,
                        95, flags),
            0);
  std::string result(reinterpret_cast<char*>(bytes), size);
  tjFree(bytes);
  return result;
}

void expect_colour(const std::string& bytes, const std::vector<int>& colour) {
  const Image image = decode_jpeg(bytes);
  ASSERT_EQ(image.size, (ImageSize{20, 12}));
  for (size_t i = 0; i < image.pixels.size(); ++i) ASSERT_NEAR(image.pixels[i], colour[i % 3], 3);
}

TEST(Jpeg, IsReadAsRgbWhateverItHolds) {
  const std::vector<uint8_t> colour = {200, 40, 90};
  for (const int subsampling : {TJSAMP_444, TJSAMP_422, TJSAMP_420, TJSAMP_411}) {
    expect_colour(jpeg(TJPF_RGB, colour, subsampling), {200, 40, 90});
  }
  expect_colour(jpeg(TJPF_RGB, colour, TJSAMP_420, TJFLAG_PROGRESSIVE), {200, 40, 90});
  expect_colour(jpeg(TJPF_GRAY, {77}, TJSAMP_GRAY), {77, 77, 77});
}

TEST(Jpeg, OfInksIsMultipliedOut) {
  // Stored inverted: 255 is no ink.
  expect_colour(jpeg(TJPF_CMYK, {200, 40, 90, 255}, TJSAMP_444), {200, 40, 90});
  expect_colour(jpeg(TJPF_CMYK, {200, 40, 90, 128}, TJSAMP_444), {100, 20, 45});
  expect_colour(jpeg(TJPF_CMYK, {200, 40, 90, 0}, TJSAMP_444), {0, 0, 0});
}

TEST(Jpeg, IsReadNearlyAsItWasWritten) {
  Image image = Image::of({16, 8});
  for (size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = static_cast<uint8_t>(i / 2);
  const Image again = decode_jpeg(encode_jpeg(image, 100));
  ASSERT_EQ(again.size, image.size);
  for (size_t i = 0; i < image.pixels.size(); ++i) {
    EXPECT_NEAR(again.pixels[i], image.pixels[i], 12);
  }
}

class ImageFiles : public testing::Test {
 protected:
  std::string complaint(const std::string& name, std::string_view bytes) {
    const std::string path = folder_.write_raw(name, bytes);
    const std::string message = message_of<DataError>([&] { read_image(path); });
    EXPECT_THAT(message, HasSubstr(path + ": "));
    return message;
  }
  std::string complaint_of_size(const std::string& name, std::string_view bytes) {
    const std::string path = folder_.write_raw(name, bytes);
    return message_of<DataError>([&] { read_image_size(path); });
  }
  TestFolder folder_;
};

TEST_F(ImageFiles, AreKnownByTheirBytesNotTheirNames) {
  const std::string png = folder_.write_raw("a.jpg", from_hex(kRgba));
  EXPECT_EQ(read_image_size(png), (ImageSize{4, 2}));
  EXPECT_EQ(read_image(png).pixels, kColours);
  const std::string jpg = folder_.write_raw("b.png", jpeg(TJPF_GRAY, {9}, TJSAMP_GRAY));
  EXPECT_EQ(read_image_size(jpg), (ImageSize{20, 12}));
  EXPECT_THAT(read_image(jpg).pixels, Each(testing::AllOf(testing::Ge(6), testing::Le(12))));
}

TEST_F(ImageFiles, HaveTheirSizeFoundBehindALongPreamble) {
  // Comments as cameras write previews: each segment holds at most 65533 bytes.
  std::string bytes = jpeg(TJPF_RGB, {1, 2, 3}, TJSAMP_444);
  std::string comments;
  for (int i = 0; i < 3; ++i) comments += "\xFF\xFE\xFF\xFF" + std::string(65533, 'x');
  bytes.insert(2, comments);
  EXPECT_EQ(read_image_size(folder_.write_raw("a.jpg", bytes)), (ImageSize{20, 12}));
}

TEST_F(ImageFiles, OfOtherKindsAreNamed) {
  EXPECT_THAT(complaint("a", "GIF89a..."), HasSubstr("it is a GIF; save it as PNG or JPEG"));
  EXPECT_THAT(complaint("a", "RIFF1234WEBPVP8 "), HasSubstr("it is a WebP"));
  EXPECT_THAT(complaint("a", std::string_view("II*\0....", 8)), HasSubstr("it is a TIFF"));
  EXPECT_THAT(complaint("a", "<html>404</html>"), HasSubstr("neither a PNG nor a JPEG"));
  EXPECT_THAT(complaint("a", ""), HasSubstr("the file is empty"));
  EXPECT_THAT(complaint_of_size("a", "<html>404</html>"), HasSubstr("neither a PNG nor a JPEG"));
}

TEST_F(ImageFiles, ThatCannotBeReadAreNamed) {
  const std::string missing = folder_.path() / "missing.png";
  EXPECT_THAT(message_of<DataError>([&] { read_image_size(missing); }),
              HasSubstr(missing + ": there is no such file"));
  const std::string folder = folder_.path();
  EXPECT_THAT(message_of<DataError>([&] { read_image(folder); }), HasSubstr("no regular file"));
}

TEST_F(ImageFiles, CutShortAnywhereAreRefused) {
  Image noise = Image::of({32, 32});
  for (size_t i = 0; i < noise.pixels.size(); ++i) {
    noise.pixels[i] = static_cast<uint8_t>(i * i * 31 % 251);
  }
  for (const std::string& whole : {encode_png(noise), encode_jpeg(noise, 80)}) {
    // A PNG's last chunk and a JPEG's last marker hold no pixels.
    for (size_t size = 1; size + 12 < whole.size(); size += 97) {
      EXPECT_THROW(read_image(folder_.write_raw("a", whole.substr(0, size))), DataError) << size;
    }
    EXPECT_EQ(read_image(folder_.write_raw("a", whole)).size, noise.size);
  }
  const std::string png = encode_png(noise);
  EXPECT_THAT(complaint("a", png.substr(0, png.size() / 2)),
              HasSubstr("the PNG file is truncated or corrupt"));
  const std::string jpg = encode_jpeg(noise, 80);
  EXPECT_THAT(complaint("a", jpg.substr(0, jpg.size() - 100)),
              HasSubstr("the JPEG file is truncated or corrupt"));
}

TEST_F(ImageFiles, WithAFlippedBitInAPngAreRefused) {
  std::string bytes = from_hex(kGrey);
  bytes[45] = static_cast<char>(bytes[45] ^ 4);
  EXPECT_THAT(complaint("a", bytes), HasSubstr("truncated or corrupt"));
}

TEST_F(ImageFiles, OfAbsurdSizeAreRefusedBeforeMemoryIsTaken) {
  std::string bytes = from_hex(kGrey);
  // Width and height of 2^31 - 1 each.
  bytes.replace(16, 8, "\x7F\xFF\xFF\xFF\x7F\xFF\xFF\xFF");
  for (const std::string& message : {complaint("a", bytes), complaint_of_size("a", bytes)}) {
    EXPECT_THAT(message, HasSubstr("it has 2147483647 x 2147483647 pixels"));
  }
  bytes.replace(16, 8, std::string_view("\0\0\0\0\0\0\0\1", 8));
  EXPECT_THAT(complaint("a", bytes), HasSubstr("at least 1"));
}

}  // namespace
}  // namespace coeus
