#include "coeus/train/image_data_config.h"

#include "coeus/base/config_schema.h"

namespace coeus {

void describe(ImageDataConfig& config, ConfigSection& section) {
  section
      .field("max_images_per_batch", config.max_images_per_batch,
             "Images of one forward and backward pass on one rank at most; each of its rows may "
             "have its equal share of them, rounded down.")
      .at_least(1);
  section
      .field("max_patches_per_image", config.max_patches_per_image,
             "Images of more patches are shrunk to this many.")
      .at_least(1);
  section
      .field("patch_size", config.patch_size,
             "Pixels of a patch's side: that of the model's vision encoder.")
      .at_least(1);
  section
      .field("spatial_merge_size", config.spatial_merge_size,
             "Patches along a side that make one token; only 1, a token a patch, is supported.")
      .at_least(1);
  section
      .field("packing_buffer_size", config.packing_buffer_size,
             "Samples to choose from when several are packed into a row; 0 for one sample a row.")
      .at_least(0);
}

}  // namespace coeus
