#pragma once

#include <torch/custom_class.h>

#include <utility>

#include "coeus/mask/block_mask.h"

namespace coeus {

/// Carries a mask from forward to backward of a custom autograd function, as a capsule.
struct SavedMask : torch::CustomClassHolder {
  explicit SavedMask(BlockMask of) : mask(std::move(of)) {}
  BlockMask mask;
};

}  // namespace coeus
