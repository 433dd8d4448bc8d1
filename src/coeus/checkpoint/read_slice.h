// Brings a box of a stored tensor into a tensor of the run, whatever boxes it is stored in.
#pragma once

#include <ATen/core/Tensor.h>

#include "coeus/checkpoint/piece_reader.h"
#include "coeus/checkpoint/stored_piece.h"

namespace coeus {

/// The view of a box within a tensor that holds the box `held` around it.
at::Tensor narrowed_to(at::Tensor tensor, const TensorSlice& held, const TensorSlice& part);

/// Fills `into`, of the sizes of `wanted`, in place; any device, strides and plain type. Reads no
/// byte that lies outside of the box, and compares with checksums as PieceReader does, throwing
/// what it throws. The pieces cover the box.
void read_slice(OpenFiles& files, const StoredTensor& stored, const TensorSlice& wanted,
                const at::Tensor& into);

}  // namespace coeus
