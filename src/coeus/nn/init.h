// Initial values of parameters, drawn element by element from (seed, name): the same in every
// layout.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "coeus/base/tensor_slice.h"

namespace coeus::nn {

/// While it lives, the parameters named in `slices` that this thread draws hold only such a box of
/// the whole: they get the box's values. `slices` outlives it.
class SlicedInit {
 public:
  explicit SlicedInit(const std::map<std::string, TensorSlice>& slices);
  ~SlicedInit();
  SlicedInit(const SlicedInit&) = delete;
  SlicedInit& operator=(const SlicedInit&) = delete;

 private:
  const std::map<std::string, TensorSlice>* before_;
};

/// Fills `parameter` (contiguous on the CPU, or on another device; float32 or bfloat16) with normal
/// draws.
void init_normal(at::Tensor& parameter, uint64_t seed, std::string_view name, double std);

/// The same from a normal distribution cut at [-cut, cut] (not in units of std).
void init_truncated_normal(at::Tensor& parameter, uint64_t seed, std::string_view name, double std,
                           double cut = 2.0);

/// The same with draws that are uniform in [-bound, bound].
void init_uniform(at::Tensor& parameter, uint64_t seed, std::string_view name, double bound);

/// Ones, for the weights of norms.
void init_ones(at::Tensor& parameter);

/// Zeros, for biases.
void init_zeros(at::Tensor& parameter);

}  // namespace coeus::nn
