// Between tensors and the bytes that files hold: row-major, little-endian, in pieces, so that no
// whole copy of a large tensor is made for it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "coeus/checkpoint/stored_type.h"

namespace coeus {

/// Throws Error, naming `name`, for a type that the safetensors format lacks (complex, quantized).
StoredType stored_type_of(const at::Tensor& tensor, const std::string& name);
at::ScalarType scalar_type_of(StoredType type);

/// Hands out the tensor's bytes, in order, as elements of `type` (converted where it is not the
/// tensor's own). Any device; a tensor that is not contiguous is copied once.
void for_each_piece(const at::Tensor& tensor, StoredType type,
                    const std::function<void(std::span<const std::byte>)>& take);

/// Fills the tensor in place from bytes of elements of `type`: `give(offset, into)` is called for
/// consecutive pieces. Converts where the tensor's own type is another. Outside of autograd.
void fill_tensor(const at::Tensor& tensor, StoredType type,
                 const std::function<void(uint64_t offset, std::span<std::byte> into)>& give);

}  // namespace coeus
