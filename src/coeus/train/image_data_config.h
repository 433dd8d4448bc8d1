// The section of images: [data].
#pragma once

#include <cstdint>

namespace coeus {

class ConfigSection;

/// [data], as TorchTitan's vision-language experiment has it.
struct ImageDataConfig {
  std::int64_t max_images_per_batch = 10;  ///< of local_batch_size rows
  std::int64_t max_patches_per_image = 256;
  std::int64_t patch_size = 16;          ///< pixels
  std::int64_t spatial_merge_size = 1;   ///< patches merged into a token, along a side
  std::int64_t packing_buffer_size = 0;  ///< samples; 0: one sample a row
  bool operator==(const ImageDataConfig&) const = default;
};

/// Names the section's keys, their meaning and their allowed values to the configuration reader.
void describe(ImageDataConfig& config, ConfigSection& section);

}  // namespace coeus
