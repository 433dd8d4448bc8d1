#include "coeus/data/images/jpeg_file.h"

#include <turbojpeg.h>

#include <memory>
#include <string>

#include "coeus/base/error.h"
#include "coeus/data/images/image_file.h"

namespace coeus {

namespace {

struct Destroy {
  void operator()(void* handle) const { tjDestroy(handle); }
};
using Handle = std::unique_ptr<void, Destroy>;

struct Header {
  ImageSize size;
  bool has_inks = false;  // CMYK or YCCK
};

const unsigned char* data_of(std::string_view bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}

Header read_header(const Handle& handle, std::string_view bytes) {
  int width = 0;
  int height = 0;
  int subsampling = -1;
  int colours = -1;
  tjDecompressHeader3(handle.get(), data_of(bytes), bytes.size(), &width, &height, &subsampling,
                      &colours);
  // The library reports unusual chroma subsampling as an error, but decodes it.
  COEUS_CHECK_DATA(width > 0 && height > 0, "the JPEG file cannot be read: {}",
                   tjGetErrorStr2(handle.get()));
  COEUS_CHECK_DATA(colours >= 0, "the JPEG file has an unknown colour space; save it as RGB");
  return {{width, height}, colours == TJCS_CMYK || colours == TJCS_YCCK};
}

/// Whether pixels were lost. The other warnings are of files that every viewer shows whole.
bool is_damage(const std::string& warning) {
  return warning.find("remature end") != std::string::npos ||
         (warning.find("Corrupt JPEG data") != std::string::npos &&
          warning.find("extraneous bytes") == std::string::npos);
}

/// a * b / 255, rounded.
int scaled(int a, int b) {
  const int product = a * b + 128;
  return ((product >> 8) + product) >> 8;
}

Image from_inks(ImageSize size, const std::vector<uint8_t>& inks) {
  Image image = Image::of(size);
  for (size_t from = 0, to = 0; from < inks.size(); from += 4, to += 3) {
    const int light = inks[from + 3];
    for (size_t channel = 0; channel < 3; ++channel) {
      image.pixels[to + channel] =
          static_cast<uint8_t>(light - scaled(255 - inks[from + channel], light));
    }
  }
  return image;
}

}  // namespace

bool is_jpeg(std::string_view bytes) { return bytes.starts_with("\xFF\xD8\xFF"); }

ImageSize jpeg_size(std::string_view bytes) {
  const Handle handle(tjInitDecompress());
  return read_header(handle, bytes).size;
}

Image decode_jpeg(std::string_view bytes) {
  const Handle handle(tjInitDecompress());
  const Header header = read_header(handle, bytes);
  const ImageSize size = header.size;
  const int format = header.has_inks ? TJPF_CMYK : TJPF_RGB;
  std::vector<uint8_t> pixels(static_cast<size_t>(size.width * size.height * tjPixelSize[format]));
  // Progressive files of thousands of scans take minutes: those are refused.
  const int failed = tjDecompress2(handle.get(), data_of(bytes), bytes.size(), pixels.data(),
                                   static_cast<int>(size.width), 0, static_cast<int>(size.height),
                                   format, TJFLAG_LIMITSCANS);
  if (failed != 0) {
    const std::string reason = tjGetErrorStr2(handle.get());
    COEUS_CHECK_DATA(tjGetErrorCode(handle.get()) == TJERR_WARNING && !is_damage(reason),
                     "the JPEG file is truncated or corrupt: {}", reason);
  }
  if (header.has_inks) return from_inks(size, pixels);
  return {size, std::move(pixels)};
}

std::string encode_jpeg(const Image& image, int quality) {
  struct Free {
    void operator()(unsigned char* bytes) const { tjFree(bytes); }
  };
  const Handle handle(tjInitCompress());
  unsigned char* bytes = nullptr;
  unsigned long size = 0;
  const int failed = tjCompress2(
      handle.get(), image.pixels.data(), static_cast<int>(image.size.width), 0,
      static_cast<int>(image.size.height), TJPF_RGB, &bytes, &size, TJSAMP_444, quality, 0);
  const std::unique_ptr<unsigned char, Free> owner(bytes);
  COEUS_CHECK(failed == 0, "[encode_jpeg] an image of {} x {} pixels cannot be written: {}",
              image.size.width, image.size.height, tjGetErrorStr2(handle.get()));
  return {reinterpret_cast<const char*>(bytes), size};
}

}  // namespace coeus
