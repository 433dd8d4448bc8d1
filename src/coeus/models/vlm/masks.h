// Which tokens the vision-language model's decoder lets see each other, and which patches its
// encoder.
#pragma once

#include <map>
#include <span>
#include <string>

#include "coeus/mask/block_mask.h"
#include "coeus/mask/mask.h"
#include "coeus/mask/sequence_layout.h"

namespace coeus::vlm {

/// TorchTitan's names of the decoder's mask, over the tokens of each row, and of the encoder's,
/// over the patches of a batch's images packed into one row.
inline constexpr const char* kDecoderMaskName = "llama3_masks";
inline constexpr const char* kEncoderMaskName = "encoder_masks";

/// A flavour's masks by those names.
using Masks = std::map<std::string, Mask>;

/// Tokens see the earlier ones of their document, and a patch all patches of its image, which is a
/// document of the packed row.
Masks document_masks();

/// The decoder's, lowered for the rows of a batch.
AttentionMasks get_attention_masks(const Masks& masks, std::span<const SequenceLayout> rows);

/// The encoder's, lowered for the row of a batch's patches.
AttentionMasks get_image_masks(const Masks& masks, const SequenceLayout& images);

}  // namespace coeus::vlm
