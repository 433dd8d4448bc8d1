#include "coeus/kernels/cuda/hopper/tensor_map.h"

#include <string>

#include "coeus/kernels/cuda/check.h"

namespace coeus::hopper {
namespace {

using Encode = decltype(&cuTensorMapEncodeTiled);

/// The driver's function, found at run time so that nothing links the driver.
Encode encode() {
  static const Encode function = [] {
    void* found = nullptr;
    cudaDriverEntryPointQueryResult status;
    cuda::check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000,
                                                 cudaEnableDefault, &status),
                "looking up cuTensorMapEncodeTiled");
    if (status != cudaDriverEntryPointSuccess)
      throw std::runtime_error("the CUDA driver has no cuTensorMapEncodeTiled: it is too old");
    return reinterpret_cast<Encode>(found);
  }();
  return function;
}

}  // namespace

CUtensorMap tensor_map(const cuda::AttentionTensor& tensor, cuda::ElementType type, int batch,
                       int tokens, int heads, int dim, int box_tokens) {
  const auto bytes = [](int64_t stride, int size) {
    // A dimension of one element may have any stride, also one that the copy engine refuses.
    return static_cast<cuuint64_t>(size == 1 ? 16 : stride * 2);
  };
  const cuuint64_t sizes[4] = {static_cast<cuuint64_t>(dim), static_cast<cuuint64_t>(heads),
                               static_cast<cuuint64_t>(tokens), static_cast<cuuint64_t>(batch)};
  const cuuint64_t strides[3] = {bytes(tensor.head_stride, heads),
                                 bytes(tensor.token_stride, tokens),
                                 bytes(tensor.row_stride, batch)};
  const cuuint32_t box[4] = {kPanelColumns, 1, static_cast<cuuint32_t>(box_tokens), 1};
  const cuuint32_t steps[4] = {1, 1, 1, 1};
  CUtensorMap map;
  const CUresult result =
      encode()(&map,
               type == cuda::ElementType::kFloat16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16
                                                   : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
               4, tensor.data, sizes, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
               CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
               CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS)
    throw std::runtime_error("cuTensorMapEncodeTiled refused a tensor of " + std::to_string(batch) +
                             " x " + std::to_string(tokens) + " x " + std::to_string(heads) +
                             " x " + std::to_string(dim) + ": error " + std::to_string(result));
  return map;
}

bool suits_copies(const cuda::AttentionTensor& tensor) {
  return reinterpret_cast<uintptr_t>(tensor.data) % 16 == 0 && tensor.row_stride % 8 == 0 &&
         tensor.token_stride % 8 == 0 && tensor.head_stride % 8 == 0;
}

}  // namespace coeus::hopper
