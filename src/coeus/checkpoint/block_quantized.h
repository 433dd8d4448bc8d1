// Weights in eight bits with one scale a block, as DeepSeek-V3 is published (arXiv
// 2412.19437, 3.3).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

namespace coeus {

/// What the name of a weight's scales has after the weight's.
inline constexpr const char* kScaleSuffix = "_scale_inv";

/// weight: [rows, columns] in an 8-bit floating-point type; scales: [ceil(rows / block),
/// ceil(columns / block)], what each block's numbers are multiplied by. Returns float32 [rows,
/// columns]. Throws CheckpointError, naming `name`, for scales of another shape.
at::Tensor dequantized(const at::Tensor& weight, const at::Tensor& scales, int64_t block,
                       const std::string& name);

}  // namespace coeus
