#pragma once

#include <string>

namespace coeus {

/// Dense bfloat16 FLOP/s of a GPU at its peak, by the name that its driver gives it ("NVIDIA
/// H200"), from its maker's data sheets: what TorchTitan counts MFU against. 0 for one that is not
/// known.
double peak_flops_of(const std::string& device_name);

}  // namespace coeus
