// PNG and JPEG files, by libpng and libjpeg-turbo.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "coeus/data/images/image.h"

namespace coeus {

/// Larger images are refused: a small file can claim any size.
inline constexpr int64_t kMostImagePixels = 178956970;  // as Pillow

/// The size that a PNG or JPEG file gives in its header; reads little more than that. Which of the
/// two it is, its first bytes say, not its name. Throws DataError, which begins with the file's
/// name, for one that cannot be read, is of another kind, or is larger than kMostImagePixels.
ImageSize read_image_size(const std::filesystem::path& path);

/// Reads a file as eight-bit RGB. Grey becomes R = G = B, palettes are looked up, sixteen bits are
/// scaled to eight, and alpha is dropped without blending (as TorchTitan, by Pillow, does). A PNG
/// that names a gamma of its own is brought to sRGB's; other colour profiles and the orientation
/// that EXIF asks for are left alone. CMYK and YCCK JPEGs are read by Adobe's convention, in which
/// ink is stored inverted, and multiplied out. Throws as read_image_size does, and for a file that
/// is truncated or corrupt.
Image read_image(const std::filesystem::path& path);

/// The bytes of a PNG or (quality 1 to 100) JPEG file.
std::string encode_png(const Image& image);
std::string encode_jpeg(const Image& image, int quality);

}  // namespace coeus
