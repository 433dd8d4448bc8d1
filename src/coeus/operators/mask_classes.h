// Masks as classes of PyTorch: torch.classes.coeus.Mask and torch.classes.coeus.BlockMask.
#pragma once

#include <torch/custom_class.h>

#include <utility>

#include "coeus/mask/block_mask.h"
#include "coeus/mask/mask.h"

namespace coeus {

/// What Python knows as torch.classes.coeus.Mask.
struct MaskObject : torch::CustomClassHolder {
  explicit MaskObject(Mask of) : mask(std::move(of)) {}
  const Mask mask;
};

/// What Python knows as torch.classes.coeus.BlockMask.
struct BlockMaskObject : torch::CustomClassHolder {
  explicit BlockMaskObject(BlockMask of) : mask(std::move(of)) {}
  const BlockMask mask;
};

using MaskPointer = c10::intrusive_ptr<MaskObject>;
using BlockMaskPointer = c10::intrusive_ptr<BlockMaskObject>;

/// Registers the classes, and the operator `lower` that makes a BlockMask of a Mask. Comes before
/// operators whose schemas name the classes.
void define_masks(torch::Library& library);

}  // namespace coeus
