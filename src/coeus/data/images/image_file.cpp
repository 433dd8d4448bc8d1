#include "coeus/data/images/image_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "coeus/base/error.h"
#include "coeus/data/images/jpeg_file.h"
#include "coeus/data/images/png_file.h"

namespace coeus {

namespace fs = std::filesystem;

namespace {

// Enough for most headers: cameras put previews and profiles before a JPEG's size.
constexpr uint64_t kHeaderBytes = uint64_t{1} << 16;
constexpr uint64_t kMostFileBytes = uint64_t{1} << 30;

struct Contents {
  std::string bytes;
  bool whole = true;
};

Contents read_bytes(const fs::path& path, uint64_t limit) {
  std::error_code error;
  const auto status = fs::status(path, error);
  COEUS_CHECK_DATA(fs::exists(status), "there is no such file");
  COEUS_CHECK_DATA(fs::is_regular_file(status), "it is no regular file");
  const uint64_t size = fs::file_size(path, error);
  COEUS_CHECK_DATA(!error, "{}", error.message());
  COEUS_CHECK_DATA(size <= kMostFileBytes, "it has {} bytes; images may have {}", size,
                   kMostFileBytes);
  std::ifstream file(path, std::ios::binary);
  COEUS_CHECK_DATA(file.is_open(), "it cannot be opened: {}", std::strerror(errno));
  Contents contents{.whole = size <= limit};
  contents.bytes.resize(std::min(size, limit));
  file.read(contents.bytes.data(), static_cast<std::streamsize>(contents.bytes.size()));
  COEUS_CHECK_DATA(file.gcount() == static_cast<std::streamsize>(contents.bytes.size()),
                   "it cannot be read to its end");
  return contents;
}

std::string kind_of(std::string_view bytes) {
  if (bytes.empty()) return "the file is empty";
  if (bytes.starts_with("GIF8")) return "it is a GIF";
  if (bytes.starts_with("BM")) return "it is a BMP";
  if (bytes.starts_with(std::string_view("II*\0", 4)) ||
      bytes.starts_with(std::string_view("MM\0*", 4))) {
    return "it is a TIFF";
  }
  if (bytes.starts_with("RIFF") && bytes.substr(0, 12).ends_with("WEBP")) return "it is a WebP";
  return "it is neither a PNG nor a JPEG image";
}

void check_kind(std::string_view bytes) {
  COEUS_CHECK_DATA(is_png(bytes) || is_jpeg(bytes), "{}; save it as PNG or JPEG", kind_of(bytes));
}

ImageSize size_of(std::string_view bytes) {
  const ImageSize size = is_png(bytes) ? png_size(bytes) : jpeg_size(bytes);
  COEUS_CHECK_DATA(
      size.width >= 1 && size.height >= 1 && size.width <= kMostImagePixels / size.height,
      "it has {} x {} pixels; an image has at least 1 and at most {}", size.width, size.height,
      kMostImagePixels);
  return size;
}

/// What `read` gives; its complaints preceded by the file's name.
template <class Read>
auto naming(const fs::path& path, Read&& read) {
  try {
    return read();
  } catch (const DataError& error) {
    throw DataError(fmt::format("{}: {}", path.string(), error.what()));
  }
}

}  // namespace

ImageSize read_image_size(const fs::path& path) {
  return naming(path, [&] {
    const Contents start = read_bytes(path, kHeaderBytes);
    check_kind(start.bytes);
    if (start.whole || is_png(start.bytes)) return size_of(start.bytes);
    try {
      return size_of(start.bytes);
    } catch (const DataError&) {
      return size_of(read_bytes(path, kMostFileBytes).bytes);
    }
  });
}

Image read_image(const fs::path& path) {
  return naming(path, [&] {
    const std::string bytes = read_bytes(path, kMostFileBytes).bytes;
    check_kind(bytes);
    size_of(bytes);
    return is_png(bytes) ? decode_png(bytes) : decode_jpeg(bytes);
  });
}

}  // namespace coeus
