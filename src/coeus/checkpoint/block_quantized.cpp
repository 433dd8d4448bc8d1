#include "coeus/checkpoint/block_quantized.h"

#include <torch/types.h>

#include "coeus/base/error.h"

namespace coeus {

at::Tensor dequantized(const at::Tensor& weight, const at::Tensor& scales, int64_t block,
                       const std::string& name) {
  const auto blocks = [&](int64_t size) { return (size + block - 1) / block; };
  COEUS_CHECK_AS(
      CheckpointError,
      weight.dim() == 2 && scales.dim() == 2 && scales.size(0) == blocks(weight.size(0)) &&
          scales.size(1) == blocks(weight.size(1)),
      "tensor '{}' of shape [{}] has scales of shape [{}]; there must be one for each "
      "block of {} by {}",
      name, fmt::join(weight.sizes(), ", "), fmt::join(scales.sizes(), ", "), block, block);
  at::Tensor numbers = weight.to(at::kFloat);
  const at::Tensor columns =
      scales.to(at::kFloat).repeat_interleave(block, 1).narrow(1, 0, weight.size(1));
  for (int64_t row = 0; row < scales.size(0); ++row) {
    const int64_t begin = row * block;
    const int64_t rows = std::min(block, weight.size(0) - begin);
    numbers.narrow(0, begin, rows).mul_(columns[row]);
  }
  return numbers;
}

}  // namespace coeus
