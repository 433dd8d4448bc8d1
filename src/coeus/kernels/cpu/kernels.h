// The CPU kernels: plain pointers over contiguous rows, one thread's share of the work a call. They
// are compiled once for each instruction set, and the best that this CPU has is picked at start.
#pragma once

#include <cstdint>

#include "coeus/kernels/bfloat16.h"

namespace coeus {

/// The kernels of one element type T (float or BFloat16); all arithmetic is in float.
template <class T>
struct CpuKernels {
  /// out = silu(gate) * up, elementwise over n values (SwiGLU: Shazeer, arXiv 2002.05202).
  void (*swiglu_forward)(const T* gate, const T* up, T* out, int64_t n);
  /// Gradients of the above for grad_out, over n values.
  void (*swiglu_backward)(const T* grad_out, const T* gate, const T* up, T* grad_gate, T* grad_up,
                          int64_t n);

  /// Rotates the interleaved pairs of every head: x and out [tokens, heads, head_dim], table
  /// [positions, head_dim / 2, 2] of (cos, sin), positions [tokens]. `sign` -1 rotates back, which
  /// is the gradient (RoPE: Su et al., arXiv 2104.09864).
  void (*rope)(const T* x, const float* table, const int32_t* positions, T* out, int64_t tokens,
               int64_t heads, int64_t head_dim, float sign);
  /// The same for pairs (i, i + head_dim / 2).
  void (*rope_halves)(const T* x, const float* table, const int32_t* positions, T* out,
                      int64_t tokens, int64_t heads, int64_t head_dim, float sign);

  /// out = x / rms(x) * weight for rows of `dim` values; inverse_rms [rows] is kept for backward
  /// (RMSNorm: Zhang and Sennrich, arXiv 1910.07467).
  void (*rms_norm_forward)(const T* x, const T* weight, T* out, float* inverse_rms, int64_t rows,
                           int64_t dim, float eps);
  /// grad_x for rows of `dim` values; adds this call's share of the weight's gradient to
  /// grad_weight [dim] in float.
  void (*rms_norm_backward)(const T* grad_out, const T* x, const T* weight,
                            const float* inverse_rms, T* grad_x, float* grad_weight, int64_t rows,
                            int64_t dim);

  /// Per row of logits [rows, vocab] the log of the sum of exponentials into lse [rows], and the
  /// returned sum of lse - logits[label] over rows whose label is one of these.
  double (*cross_entropy_forward)(const T* logits, const int64_t* labels, float* lse, int64_t rows,
                                  int64_t vocab);
  /// grad_logits = (exp(logits - lse) - onehot(label)) * scale, zero for negative labels; a label
  /// of `vocab` is one that has no logit here, as where a vocabulary is spread over ranks.
  void (*cross_entropy_backward)(const T* logits, const int64_t* labels, const float* lse,
                                 float scale, T* grad_logits, int64_t rows, int64_t vocab);
};

/// The kernels for this CPU.
template <class T>
const CpuKernels<T>& cpu_kernels();

/// The instruction set they use: "baseline", "avx2", "avx512", "avx512_bf16" or "amx", each with
/// all that those before it have. The environment variable COEUS_CPU_CAPABILITY asks for a lesser
/// one.
const char* cpu_capability();
/// Whether it has AVX-512.
bool cpu_has_avx512();

}  // namespace coeus
