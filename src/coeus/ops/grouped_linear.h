#pragma once

#include <ATen/core/Tensor.h>

namespace coeus {

/// x W^T with a weight for each run of rows. x: [rows, in]; weight: [groups, out, in]; ends: int32
/// [groups] on x's device, ascending, one past each group's last row, the last being `rows`; a
/// group may be empty. Returns [rows, out]; under autocast in its dtype. Throws Error for other
/// shapes.
///
/// With `use_grouped_mm`, bfloat16 goes to at::_grouped_mm, which reads `ends` on the device. All
/// else is multiplied group by group on a CPU, as `linear` multiplies, and by tiles on a device, so
/// that the host never waits to learn `ends`.
at::Tensor grouped_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& ends,
                          bool use_grouped_mm = true);

/// The same by plain tensor operations: what `grouped_linear` is tested against.
at::Tensor grouped_linear_reference(const at::Tensor& x, const at::Tensor& weight,
                                    const at::Tensor& ends);

/// The same for any dtype and device without `ends` on the host: each group is padded to whole
/// tiles of `tile_rows` rows, and each tile multiplied by a copy of its group's weight. As many
/// tiles as there could be take part, so it needs rows / tile_rows + groups copies of a weight.
at::Tensor grouped_linear_by_tiles(const at::Tensor& x, const at::Tensor& weight,
                                   const at::Tensor& ends, int64_t tile_rows = 128);

}  // namespace coeus
