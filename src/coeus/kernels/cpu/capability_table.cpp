// The kernels, compiled for one instruction set: COEUS_CPU_NAMESPACE names it. Loops are written so
// that the compiler vectorises them.
#include <algorithm>
#include <bit>
#include <cmath>

#include "coeus/kernels/cpu/kernels.h"

namespace coeus::COEUS_CPU_NAMESPACE {

namespace {

/// e^x within 2 units in the last place, without branches so that it vectorises; 0 below -87.3.
inline float fast_exp(float x) {
  constexpr float kLog2e = 1.44269504088896341F;
  constexpr float kLn2High = 0.693359375F;
  constexpr float kLn2Low = -2.12194440e-4F;
  constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it rounds to a whole number
  const float clamped = std::min(std::max(x, -87.33654F), 88.0F);
  const float shifted = clamped * kLog2e + kRound;
  const float n = shifted - kRound;
  const float r = (clamped - n * kLn2High) - n * kLn2Low;
  float p = 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * r * r + r + 1.0F;
  const auto exponent = static_cast<int32_t>(n) + 127;
  const float power = std::bit_cast<float>(exponent << 23);
  return x < -87.33654F ? 0.0F : p * power;
}

inline float sigmoid(float x) { return 1.0F / (1.0F + fast_exp(-x)); }

template <class T>
void swiglu_forward(const T* gate, const T* up, T* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const float g = to_float(gate[i]);
    out[i] = from_float<T>(g * sigmoid(g) * to_float(up[i]));
  }
}

template <class T>
void swiglu_backward(const T* grad_out, const T* gate, const T* up, T* grad_gate, T* grad_up,
                     int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const float g = to_float(gate[i]);
    const float u = to_float(up[i]);
    const float grad = to_float(grad_out[i]);
    const float s = sigmoid(g);
    grad_gate[i] = from_float<T>(grad * u * (s + g * s * (1.0F - s)));
    grad_up[i] = from_float<T>(grad * g * s);
  }
}

template <class T>
void rope(const T* x, const float* table, const int32_t* positions, T* out, int64_t tokens,
          int64_t heads, int64_t head_dim, float sign) {
  for (int64_t t = 0; t < tokens; ++t) {
    const float* row = table + positions[t] * head_dim;
    for (int64_t h = 0; h < heads; ++h) {
      const T* in = x + (t * heads + h) * head_dim;
      T* to = out + (t * heads + h) * head_dim;
      for (int64_t i = 0; i < head_dim; i += 2) {
        const float a = to_float(in[i]);
        const float b = to_float(in[i + 1]);
        const float cosine = row[i];
        const float sine = sign * row[i + 1];
        to[i] = from_float<T>(a * cosine - b * sine);
        to[i + 1] = from_float<T>(a * sine + b * cosine);
      }
    }
  }
}

template <class T>
void rope_halves(const T* x, const float* table, const int32_t* positions, T* out, int64_t tokens,
                 int64_t heads, int64_t head_dim, float sign) {
  const int64_t half = head_dim / 2;
  for (int64_t t = 0; t < tokens; ++t) {
    const float* row = table + positions[t] * head_dim;
    for (int64_t h = 0; h < heads; ++h) {
      const T* in = x + (t * heads + h) * head_dim;
      T* to = out + (t * heads + h) * head_dim;
      for (int64_t i = 0; i < half; ++i) {
        const float a = to_float(in[i]);
        const float b = to_float(in[i + half]);
        const float cosine = row[2 * i];
        const float sine = sign * row[2 * i + 1];
        to[i] = from_float<T>(a * cosine - b * sine);
        to[i + half] = from_float<T>(a * sine + b * cosine);
      }
    }
  }
}

/// The sum of f(i) for i in [0, n), in whatever order vectorises best.
template <class F>
inline float vector_sum(int64_t n, F f) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += f(i);
  return sum;
}

template <class T>
void rms_norm_forward(const T* x, const T* weight, T* out, float* inverse_rms, int64_t rows,
                      int64_t dim, float eps) {
  for (int64_t r = 0; r < rows; ++r) {
    const T* in = x + r * dim;
    T* to = out + r * dim;
    const float squares = vector_sum(dim, [&](int64_t i) {
      const float v = to_float(in[i]);
      return v * v;
    });
    const float inverse = 1.0F / std::sqrt(squares / static_cast<float>(dim) + eps);
    inverse_rms[r] = inverse;
    for (int64_t i = 0; i < dim; ++i)
      to[i] = from_float<T>(to_float(in[i]) * inverse * to_float(weight[i]));
  }
}

template <class T>
void rms_norm_backward(const T* grad_out, const T* x, const T* weight, const float* inverse_rms,
                       T* grad_x, float* grad_weight, int64_t rows, int64_t dim) {
  for (int64_t r = 0; r < rows; ++r) {
    const T* in = x + r * dim;
    const T* grad = grad_out + r * dim;
    T* to = grad_x + r * dim;
    const float inverse = inverse_rms[r];
    const float dot = vector_sum(
        dim, [&](int64_t i) { return to_float(grad[i]) * to_float(weight[i]) * to_float(in[i]); });
    const float along = dot * inverse * inverse / static_cast<float>(dim);
    for (int64_t i = 0; i < dim; ++i) {
      const float v = to_float(in[i]);
      const float g = to_float(grad[i]);
      to[i] = from_float<T>((g * to_float(weight[i]) - v * along) * inverse);
      grad_weight[i] += g * v * inverse;
    }
  }
}

template <class T>
double cross_entropy_forward(const T* logits, const int64_t* labels, float* lse, int64_t rows,
                             int64_t vocab) {
  double loss = 0;
  for (int64_t r = 0; r < rows; ++r) {
    const T* row = logits + r * vocab;
    float largest = to_float(row[0]);
#pragma omp simd reduction(max : largest)
    for (int64_t i = 0; i < vocab; ++i) largest = std::max(largest, to_float(row[i]));
    const float sum =
        vector_sum(vocab, [&](int64_t k) { return fast_exp(to_float(row[k]) - largest); });
    lse[r] = largest + std::log(sum);
    if (labels[r] >= 0 && labels[r] < vocab)
      loss += static_cast<double>(lse[r]) - to_float(row[labels[r]]);
  }
  return loss;
}

template <class T>
void cross_entropy_backward(const T* logits, const int64_t* labels, const float* lse, float scale,
                            T* grad_logits, int64_t rows, int64_t vocab) {
  for (int64_t r = 0; r < rows; ++r) {
    const T* row = logits + r * vocab;
    T* grad = grad_logits + r * vocab;
    if (labels[r] < 0) {
      std::fill(grad, grad + vocab, T{});
      continue;
    }
    const float offset = lse[r];
    for (int64_t i = 0; i < vocab; ++i)
      grad[i] = from_float<T>(fast_exp(to_float(row[i]) - offset) * scale);
    if (labels[r] >= vocab) continue;
    const float probability = fast_exp(to_float(row[labels[r]]) - offset);
    grad[labels[r]] = from_float<T>((probability - 1.0F) * scale);
  }
}

template <class T>
constexpr CpuKernels<T> kTable = {
    swiglu_forward<T>,        swiglu_backward<T>,       rope<T>,
    rope_halves<T>,           rms_norm_forward<T>,      rms_norm_backward<T>,
    cross_entropy_forward<T>, cross_entropy_backward<T>};

}  // namespace

const CpuKernels<float>& float_kernels() { return kTable<float>; }
const CpuKernels<BFloat16>& bfloat16_kernels() { return kTable<BFloat16>; }

}  // namespace coeus::COEUS_CPU_NAMESPACE
