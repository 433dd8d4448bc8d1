#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace coeus {

/// Writes the reference weights of a model as a safetensors file of float32: for the parameter
/// `name`, element i is 1 + 0.1 v if it has one dimension and 0.02 sqrt(3) v otherwise, where
/// v = 2 u - 1 and u is the top 24 bits of output i + 1 of splitmix64 started at fnv1a64(name).
void write_seed_weights(const std::string& model, const std::string& flavor,
                        const std::filesystem::path& file);

/// The first `count` values of one parameter.
std::vector<float> seed_values(const std::string& name, bool one_dimensional, int64_t count);

}  // namespace coeus
