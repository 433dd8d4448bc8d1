#pragma once

#include <torch/library.h>

namespace coeus {

/// Registers the operators `attention`, `attention_with_lse` and `_attention_backward`, which takes
/// what forward gave as right. Comes after define_masks.
void define_attention(torch::Library& library);

}  // namespace coeus
