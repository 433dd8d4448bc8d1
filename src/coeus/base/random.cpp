#include "coeus/base/random.h"

#include <cmath>
#include <initializer_list>

namespace coeus {

namespace {

/// The polynomial with the given coefficients, highest power first.
double polynomial(std::initializer_list<double> coefficients, double x) {
  double sum = 0;
  for (double c : coefficients) sum = sum * x + c;
  return sum;
}

}  // namespace

uint64_t fnv1a64(std::string_view bytes) {
  uint64_t hash = 0xCBF29CE484222325ULL;
  for (unsigned char byte : bytes) hash = (hash ^ byte) * 0x100000001B3ULL;
  return hash;
}

double normal_quantile(double p) {
  const double q = p - 0.5;
  if (std::fabs(q) <= 0.425) {
    const double r = 0.180625 - q * q;
    return q *
           polynomial({2509.0809287301226727, 33430.575583588128105, 67265.770927008700853,
                       45921.953931549871457, 13731.693765509461125, 1971.5909503065514427,
                       133.14166789178437745, 3.387132872796366608},
                      r) /
           polynomial({5226.495278852545925, 28729.085735721942674, 39307.89580009271061,
                       21213.794301586595867, 5394.1960214247511077, 687.1870074920579083,
                       42.313330701600911252, 1.0},
                      r);
  }
  double r = std::sqrt(-std::log(q < 0 ? p : 1 - p));
  double value;
  if (r <= 5) {
    r -= 1.6;
    value = polynomial({7.7454501427834140764e-4, 0.0227238449892691845833, 0.24178072517745061177,
                        1.27045825245236838258, 3.64784832476320460504, 5.7694972214606914055,
                        4.6303378461565452959, 1.42343711074968357734},
                       r) /
            polynomial({1.05075007164441684324e-9, 5.475938084995344946e-4,
                        0.0151986665636164571966, 0.14810397642748007459, 0.68976733498510000455,
                        1.6763848301838038494, 2.05319162663775882187, 1.0},
                       r);
  } else {
    r -= 5;
    value = polynomial({2.01033439929228813265e-7, 2.71155556874348757815e-5,
                        0.0012426609473880784386, 0.026532189526576123093, 0.29656057182850489123,
                        1.7848265399172913358, 5.4637849111641143699, 6.6579046435011037772},
                       r) /
            polynomial({2.04426310338993978564e-15, 1.4215117583164458887e-7,
                        1.8463183175100546818e-5, 7.868691311456132591e-4, 0.0148753612908506148525,
                        0.13692988092273580531, 0.59983220655588793769, 1.0},
                       r);
  }
  return q < 0 ? -value : value;
}

CounterRandom::CounterRandom(uint64_t seed, std::string_view name)
    : state_(mix64(fnv1a64(name) + mix64(seed + kGoldenGamma))) {}

}  // namespace coeus
