#include "coeus/train/metrics/peak_flops.h"

#include <utility>

namespace coeus {

double peak_flops_of(const std::string& device_name) {
  // The first that the name contains: variants before the chip they are variants of.
  static constexpr std::pair<const char*, double> kPeaks[] = {
      {"H100 NVL", 835e12}, {"H100 PCIe", 756e12}, {"H100", 989e12},
      {"H200", 989e12},     {"B200", 2.25e15},     {"A100", 312e12}};
  for (const auto& [part, peak] : kPeaks)
    if (device_name.find(part) != std::string::npos) return peak;
  return 0;
}

}  // namespace coeus
