// A small data set of pictures with captions, made by a formula.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "coeus/data/images/image.h"

namespace coeus {

/// A picture of one shape, or of two beside or above one another, and what it shows: "a red circle
/// left of a blue square".
struct CaptionedImage {
  Image image;
  std::string caption;
};

/// Picture `number` of a seed, from 40 to 112 pixels a side.
CaptionedImage draw_shapes(uint64_t seed, int64_t number);

/// Writes `count` samples to `folder`, which must be empty or not be there yet: train.jsonl and, in
/// its subfolder images, PNG and JPEG files by turns. Every eighth sample has two images among
/// its text, the others one before it. Depends on nothing but count and seed. Throws
/// Error when the folder cannot be written.
void write_shapes(const std::filesystem::path& folder, int64_t count, uint64_t seed);

}  // namespace coeus
