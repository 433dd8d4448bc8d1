#include "coeus/data/images/png_file.h"

#include <png.h>

#include "coeus/base/error.h"
#include "coeus/data/images/image_file.h"

namespace coeus {

namespace {

constexpr std::string_view kSignature = "\x89PNG\r\n\x1A\n";

/// libpng's own reader and writer of whole images: it reports errors by return value.
struct PngImage {
  png_image png{};

  PngImage() { png.version = PNG_IMAGE_VERSION; }
  ~PngImage() { png_image_free(&png); }
  PngImage(const PngImage&) = delete;
  PngImage& operator=(const PngImage&) = delete;
};

int64_t big_endian(std::string_view bytes) {
  int64_t value = 0;
  for (unsigned char byte : bytes) value = value << 8 | byte;
  return value;
}

}  // namespace

bool is_png(std::string_view bytes) { return bytes.starts_with(kSignature); }

ImageSize png_size(std::string_view bytes) {
  // The first chunk: length, type, width, height, …
  constexpr size_t kType = kSignature.size() + 4;
  COEUS_CHECK_DATA(bytes.size() >= kType + 12, "the PNG file is truncated");
  COEUS_CHECK_DATA(bytes.substr(kType, 4) == "IHDR", "the PNG file has no header");
  return {big_endian(bytes.substr(kType + 4, 4)), big_endian(bytes.substr(kType + 8, 4))};
}

Image decode_png(std::string_view bytes) {
  PngImage reader;
  png_image& png = reader.png;
  COEUS_CHECK_DATA(png_image_begin_read_from_memory(&png, bytes.data(), bytes.size()) != 0,
                   "the PNG file cannot be read: {}", png.message);
  // Sixteen bits are taken as sRGB like eight, not as linear light.
  png.flags |= PNG_IMAGE_FLAG_16BIT_sRGB;
  const bool has_alpha = (png.format & PNG_FORMAT_FLAG_ALPHA) != 0;
  // Alpha that is asked for is kept apart; alpha that is not would be blended with a background.
  png.format = has_alpha ? PNG_FORMAT_RGBA : PNG_FORMAT_RGB;
  const ImageSize size{png.width, png.height};
  std::vector<uint8_t> pixels(PNG_IMAGE_SIZE(png));
  COEUS_CHECK_DATA(png_image_finish_read(&png, nullptr, pixels.data(), 0, nullptr) != 0,
                   "the PNG file is truncated or corrupt: {}", png.message);
  if (!has_alpha) return {size, std::move(pixels)};

  Image image = Image::of(size);
  for (size_t from = 0, to = 0; from < pixels.size(); from += 4, to += 3) {
    for (size_t channel = 0; channel < 3; ++channel) {
      image.pixels[to + channel] = pixels[from + channel];
    }
  }
  return image;
}

std::string encode_png(const Image& image) {
  PngImage writer;
  png_image& png = writer.png;
  png.width = static_cast<png_uint_32>(image.size.width);
  png.height = static_cast<png_uint_32>(image.size.height);
  png.format = PNG_FORMAT_RGB;
  std::string bytes(PNG_IMAGE_PNG_SIZE_MAX(png), '\0');
  png_alloc_size_t size = bytes.size();
  const int done =
      png_image_write_to_memory(&png, bytes.data(), &size, 0, image.pixels.data(), 0, nullptr);
  COEUS_CHECK(done != 0, "[encode_png] an image of {} x {} pixels cannot be written: {}",
              image.size.width, image.size.height, png.message);
  bytes.resize(size);
  return bytes;
}

}  // namespace coeus
