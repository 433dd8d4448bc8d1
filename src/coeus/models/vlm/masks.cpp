#include "coeus/models/vlm/masks.h"

#include "coeus/mask/lower.h"

namespace coeus::vlm {

Masks document_masks() {
  return {{kDecoderMaskName, mask::causal() & mask::document()},
          {kEncoderMaskName, mask::document()}};
}

AttentionMasks get_attention_masks(const Masks& masks, std::span<const SequenceLayout> rows) {
  return {{kDecoderMaskName, lower(masks.at(kDecoderMaskName), rows)}};
}

AttentionMasks get_image_masks(const Masks& masks, const SequenceLayout& images) {
  return {{kEncoderMaskName, lower(masks.at(kEncoderMaskName), {&images, 1})}};
}

}  // namespace coeus::vlm
