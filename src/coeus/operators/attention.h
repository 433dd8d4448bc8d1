#pragma once

#include <torch/library.h>

namespace coeus {

/// Registers the operators `attention`, `attention_with_lse` and `attention_backward`. Comes after
/// define_masks.
void define_attention(torch::Library& library);

}  // namespace coeus
