// How the copy engine sees a tensor of attention.
#pragma once

#include <cuda.h>

#include "coeus/kernels/cuda/attention.h"

namespace coeus::hopper {

/// Elements of a box's row: 128 bytes, what the widest swizzling takes.
constexpr int kPanelColumns = 64;

/// The map of a [row, token, head, dim] tensor of 2-byte elements whose boxes are `box_tokens`
/// tokens of one head, kPanelColumns wide, swizzled by 128 bytes. Throws std::runtime_error when
/// CUDA refuses it.
CUtensorMap tensor_map(const cuda::AttentionTensor& tensor, cuda::ElementType type, int batch,
                       int tokens, int heads, int dim, int box_tokens);

/// Whether tensor_map takes such a tensor of 2-byte elements: its address and strides are multiples
/// of 16 bytes.
bool suits_copies(const cuda::AttentionTensor& tensor);

}  // namespace coeus::hopper
