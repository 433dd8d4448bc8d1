// JPEG in memory.
#pragma once

#include <string_view>

#include "coeus/data/images/image.h"

namespace coeus {

bool is_jpeg(std::string_view bytes);

/// These throw DataError that says what is wrong with the bytes; image_file.cpp adds the file.
///
/// `bytes` may be the beginning of a file, if it reaches past the header.
ImageSize jpeg_size(std::string_view bytes);
Image decode_jpeg(std::string_view bytes);

}  // namespace coeus
