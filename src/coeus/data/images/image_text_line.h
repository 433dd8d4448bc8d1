// A line of text and images.
#pragma once

#include <string_view>

#include "coeus/data/dataset.h"

namespace coeus {

/// Reads a JSON line into `document`: its text, with `<|image|>` where an image goes, and the files
/// of its images in that order. A line has one of these forms:
///
///     {"text": "A cat. <|image|> A dog. <|image|>", "images": ["cat.png", "dog.jpg"]}
///     {"text": "A cat.", "images": ["cat.png"]}           images without a place come first
///     {"text": "A cat.", "image": "cat.png"}              one image
///     {"texts": ["A cat.", null], "images": [null, "cat.png"]}   TorchTitan's: one or the other
///     {"text": "No image at all."}
///
/// A relative path starts from the folder of the file that the line is in. Other keys are passed
/// over. Throws DataError, with file and line, for what has none of these forms.
void read_image_text_line(std::string_view line, const RecordPlace& place, Document& document);

}  // namespace coeus
