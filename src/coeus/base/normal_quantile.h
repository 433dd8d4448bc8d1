// The functions behind random numbers without state, for the CPU and for kernels: a file that nvcc
// compiles gets them on both sides.
#pragma once

#include <cmath>
#include <cstdint>

#ifdef __CUDACC__
#define COEUS_HOST_DEVICE __host__ __device__
#else
#define COEUS_HOST_DEVICE
#endif

namespace coeus {

/// What splitmix64 adds to its state for each output.
inline constexpr uint64_t kGoldenGamma = 0x9E3779B97F4A7C15ULL;

/// The finaliser of splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
/// generators", 2014): a bijection of 64-bit words.
COEUS_HOST_DEVICE inline uint64_t mix64(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
}

/// Output number `element` of splitmix64 started at `state`, uniform over all 64-bit words.
COEUS_HOST_DEVICE inline uint64_t counter_bits(uint64_t state, uint64_t element) {
  return mix64(state + (element + 1) * kGoldenGamma);
}

/// The top 53 bits of a word as a number between 0 and 1, never either.
COEUS_HOST_DEVICE inline double uniform_from_bits(uint64_t bits) {
  const double u = (static_cast<double>(bits >> 11) + 0.5) * 0x1p-53;
  // Half of the last place is lost on the highest 53 bits of all, which would come out as 1.
  return u < 1 ? u : 1 - 0x1p-53;
}

/// a * b + c as the host computes it. Device code rounds the product too: a fused one would give
/// numbers other than the CPU's, by many units in the last place where the sum cancels.
COEUS_HOST_DEVICE inline double multiply_add(double a, double b, double c) {
#ifdef __CUDA_ARCH__
  return __dadd_rn(__dmul_rn(a, b), c);
#else
  return a * b + c;
#endif
}

/// The polynomial in x with the given coefficients, highest power first.
template <class... Coefficients>
COEUS_HOST_DEVICE inline double polynomial(double x, double highest, Coefficients... others) {
  double sum = highest;
  ((sum = multiply_add(sum, x, others)), ...);
  return sum;
}

/// What normal_quantile (coeus/base/random.h) computes, inline.
COEUS_HOST_DEVICE inline double normal_quantile_as241(double p) {
  const double q = p - 0.5;
  if (std::fabs(q) <= 0.425) {
    const double r = multiply_add(-q, q, 0.180625);
    return q *
           polynomial(r, 2509.0809287301226727, 33430.575583588128105, 67265.770927008700853,
                      45921.953931549871457, 13731.693765509461125, 1971.5909503065514427,
                      133.14166789178437745, 3.387132872796366608) /
           polynomial(r, 5226.495278852545925, 28729.085735721942674, 39307.89580009271061,
                      21213.794301586595867, 5394.1960214247511077, 687.1870074920579083,
                      42.313330701600911252, 1.0);
  }
  double r = std::sqrt(-std::log(q < 0 ? p : 1 - p));
  double value;
  if (r <= 5) {
    r -= 1.6;
    value = polynomial(r, 7.7454501427834140764e-4, 0.0227238449892691845833,
                       0.24178072517745061177, 1.27045825245236838258, 3.64784832476320460504,
                       5.7694972214606914055, 4.6303378461565452959, 1.42343711074968357734) /
            polynomial(r, 1.05075007164441684324e-9, 5.475938084995344946e-4,
                       0.0151986665636164571966, 0.14810397642748007459, 0.68976733498510000455,
                       1.6763848301838038494, 2.05319162663775882187, 1.0);
  } else {
    r -= 5;
    value = polynomial(r, 2.01033439929228813265e-7, 2.71155556874348757815e-5,
                       0.0012426609473880784386, 0.026532189526576123093, 0.29656057182850489123,
                       1.7848265399172913358, 5.4637849111641143699, 6.6579046435011037772) /
            polynomial(r, 2.04426310338993978564e-15, 1.4215117583164458887e-7,
                       1.8463183175100546818e-5, 7.868691311456132591e-4, 0.0148753612908506148525,
                       0.13692988092273580531, 0.59983220655588793769, 1.0);
  }
  return q < 0 ? -value : value;
}

}  // namespace coeus
