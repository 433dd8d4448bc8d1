// Initial values of parameters, drawn element by element from (seed, name): the same in every
// layout.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string_view>

namespace coeus::nn {

/// Fills `parameter` (contiguous, on the CPU, float32 or bfloat16) with normal draws.
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
