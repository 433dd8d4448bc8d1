// Bringing an image to a size that a vision encoder takes.
#pragma once

#include "coeus/data/images/image.h"

namespace coeus {

/// The size that an image is brought to: sides are multiples of patch_size, close to the given
/// ones, with at most max_patches patches in all; images that are larger shrink, those smaller than
/// a patch grow, both keeping the ratio of their sides as far as whole patches let them. The rule
/// is TorchTitan's; where it finds no size for a long and thin image (its short side less than
/// a patch once the long one fits), the short side becomes one patch. Throws DataError when one
/// side is more than 200 times the other, as TorchTitan refuses it.
ImageSize fit_image(ImageSize size, int64_t patch_size, int64_t max_patches);

/// Bicubic interpolation (a = -0.5) whose support widens with the factor when an image shrinks, so
/// that fine patterns do not alias. The sides are resized one after the other, the width first, in
/// fixed point with eight bits between: the same values as the resize of Pillow 11, which
/// TorchTitan uses (Pillow 13 takes the height first where that is less work).
Image resize_image(const Image& image, ImageSize size);

}  // namespace coeus
