// Initial values of parameters on NVIDIA GPUs: the numbers that coeus/base/random.h draws on the
// CPU.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "coeus/kernels/cuda/element_type.h"

namespace coeus::cuda {

enum class Distribution { kNormal, kTruncatedNormal, kUniform };

/// Element number e of the whole tensor is, of the uniform draw u that CounterRandom::uniform(e)
/// gives on the CPU,
///   normal:           scale * normal_quantile(u)
///   truncated normal: scale * normal_quantile(low + (1 - 2 * low) * u), held within [-cut, cut]
///   uniform:          scale * (2 * u - 1)
/// in float64, rounded to float32 and that to `type`. Every step is as on the CPU but the logarithm
/// of draws beyond 1.44 deviations, which may be a unit in the last place of float64 off: few
/// elements in a billion round otherwise than the CPU's.
struct Draw {
  static constexpr int kMaxDims = 4;

  ElementType type = ElementType::kFloat32;
  Distribution distribution = Distribution::kNormal;
  void* values = nullptr;  ///< [n]
  int64_t n = 0;
  uint64_t state = 0;  ///< CounterRandom::state
  double scale = 1;    ///< the deviation; of a uniform distribution, its bound
  double cut = 0;      ///< of a truncated normal distribution
  double low = 0;      ///< of a truncated one: the normal probability of less than -cut / scale

  /// The box of a tensor of the sizes `whole` that the values are, row-major in both, as in
  /// TensorSlice; with no dims, the values are the whole.
  int dims = 0;
  int64_t begin[kMaxDims] = {};
  int64_t size[kMaxDims] = {};
  int64_t whole[kMaxDims] = {};
};

/// Starts the work on a stream of the current device; returns at once. Throws std::runtime_error
/// where CUDA reports an error or the box does not fit.
void draw(const Draw& work, cudaStream_t stream);

}  // namespace coeus::cuda
