// The special tokens that stand for images in a text.
#pragma once

#include <cstdint>
#include <string_view>

namespace coeus {

class Tokenizer;

/// TorchTitan's names for them.
inline constexpr std::string_view kImageToken = "<|image|>";
inline constexpr std::string_view kBeginOfImageToken = "<|begin_of_image|>";
inline constexpr std::string_view kEndOfImageToken = "<|end_of_image|>";
inline constexpr std::string_view kPadToken = "<|pad|>";

struct ImageTokenIds {
  int32_t image = 0;  ///< one for each patch
  int32_t begin = 0;  ///< before the patches of an image
  int32_t end = 0;    ///< and after them
  int32_t pad = 0;    ///< fills up a row

  /// Whether a label of this token counts for nothing, for it is no text.
  bool hides(int32_t label) const {
    return label == image || label == begin || label == end || label == pad;
  }
  bool operator==(const ImageTokenIds&) const = default;
};

/// Looks the four up by name. Throws DataError, saying how to add them, unless the tokenizer has
/// all of them and finds each in a text.
ImageTokenIds image_token_ids(const Tokenizer& tokenizer);

}  // namespace coeus
