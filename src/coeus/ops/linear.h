#pragma once

#include <ATen/core/Tensor.h>

namespace coeus {

/// x W^T. x: [..., in]; weight: [out, in]; returns [..., out]. Under autocast in its dtype.
///
/// In float32 on a CPU with AVX-512 the products are oneDNN's, which LibTorch carries but uses for
/// lower precisions only; its own choice for float32 is MKL, which leaves AVX-512 unused on CPUs
/// that are not Intel's. Everything else goes to LibTorch.
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight);

/// The same by LibTorch's own choice: what `linear` is tested against.
at::Tensor linear_reference(const at::Tensor& x, const at::Tensor& weight);

/// a b^T as `linear` multiplies, without a gradient. a: [m, k]; b: [n, k]; either may be a
/// transposed view. Equal dtypes.
at::Tensor product_with_transpose(const at::Tensor& a, const at::Tensor& b);

/// Casts both factors of a product to autocast's dtype, where that is on for x's device.
void cast_for_autocast(at::Tensor& x, at::Tensor& weight);

}  // namespace coeus
