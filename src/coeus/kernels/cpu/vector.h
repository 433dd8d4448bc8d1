// The widest vector of the instruction set that this file is compiled for, and what attention does
// with it. Only for files that are compiled once for each capability.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

namespace coeus::COEUS_CPU_NAMESPACE {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <class C>
struct VectorOf {
  typedef C type __attribute__((vector_size(kVectorBytes)));
};
/// kLanes<C> values of type C; arithmetic and comparison work lane by lane.
template <class C>
using Vector = typename VectorOf<C>::type;
template <class C>
constexpr int64_t kLanes = kVectorBytes / static_cast<int64_t>(sizeof(C));

template <class C>
using BitsOf = std::conditional_t<sizeof(C) == 8, int64_t, int32_t>;

template <class C>
inline Vector<C> load(const C* from) {
  Vector<C> v;
  std::memcpy(&v, from, sizeof(v));
  return v;
}
template <class C>
inline void store(C* to, Vector<C> v) {
  std::memcpy(to, &v, sizeof(v));
}
template <class C>
inline Vector<C> broadcast(C x) {
  return Vector<C>{} + x;
}
template <class V>
inline V larger(V a, V b) {
  return a > b ? a : b;
}

/// 2^x lane by lane: within 2 units in the last place, exact at 0, and 0 for all x below the
/// smallest normal number's, -inf included. x must not exceed 100.
inline Vector<float> exp2(Vector<float> x) {
  using V = Vector<float>;
  using I = Vector<int32_t>;
  constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it rounds to a whole number
  const V shifted = x + kRound;
  const V r = x - (shifted - kRound);
  V p = V{} + 1.53533618e-4F;
  p = p * r + 1.33988744e-3F;
  p = p * r + 9.61843736e-3F;
  p = p * r + 5.55033247e-2F;
  p = p * r + 2.40226479e-1F;
  p = p * r + 6.93147203e-1F;
  p = p * r + 1.0F;
  I bits;
  std::memcpy(&bits, &shifted, sizeof(bits));
  I power;
  std::memcpy(&power, &p, sizeof(power));
  power += bits << 23;
  V result;
  std::memcpy(&result, &power, sizeof(result));
  return x < -126.0F ? V{} : result;
}

inline Vector<double> exp2(Vector<double> x) {
  using V = Vector<double>;
  using I = Vector<int64_t>;
  constexpr double kRound = 6755399441055744.0;  // 1.5 * 2^52
  // ln(2)^n / n! from n = 13 down to 1
  constexpr double kTaylor[] = {
      1.3691488853904128e-12, 2.5678435993488206e-11, 4.4455382718708116e-10,
      7.0549116208011233e-09, 1.0178086009239699e-07, 1.3215486790144309e-06,
      1.5252733804059841e-05, 1.5403530393381609e-04, 1.3333558146428443e-03,
      9.6181291076284772e-03, 5.5504108664821580e-02, 2.4022650695910072e-01,
      6.9314718055994531e-01};
  const V shifted = x + kRound;
  const V r = x - (shifted - kRound);
  V p{};
  for (const double coefficient : kTaylor) p = p * r + coefficient;
  p = p * r + 1.0;
  I bits;
  std::memcpy(&bits, &shifted, sizeof(bits));
  I power;
  std::memcpy(&power, &p, sizeof(power));
  power += bits << 52;
  V result;
  std::memcpy(&result, &power, sizeof(result));
  return x < -1022.0 ? V{} : result;
}

}  // namespace coeus::COEUS_CPU_NAMESPACE
