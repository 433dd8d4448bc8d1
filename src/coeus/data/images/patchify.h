#pragma once

#include <cstdint>
#include <vector>

#include "coeus/data/images/image.h"
#include "coeus/data/images/image_patches.h"

namespace coeus {

/// The values of one patch.
constexpr int64_t patch_dim_of(int64_t patch_size) { return patch_size * patch_size * 3; }

/// Cuts an image, whose sides are multiples of patch_size, into patches and adds them to `values`:
/// patches row by row; in a patch its pixels row by row; of a pixel red, green, blue. This is the
/// order of TorchTitan and of the linear patch embedding of Siglip2 in Hugging Face's transformers.
/// A channel's value v becomes (v / 255 - mean) / deviation with CLIP's figures, as in TorchTitan.
ImageGrid append_patches(const Image& image, int64_t patch_size, std::vector<float>& values);

}  // namespace coeus
