#include "parity/seed_weights.h"

#include <torch/types.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "coeus/base/random.h"
#include "coeus/models/registry.h"

namespace coeus {

std::vector<float> seed_values(const std::string& name, bool one_dimensional, int64_t count) {
  const uint64_t state = fnv1a64(name);
  const double scale = 0.02 * std::sqrt(3.0);
  std::vector<float> values(count);
  for (int64_t i = 0; i < count; ++i) {
    const uint64_t draw = mix64(state + (i + 1) * kGoldenGamma);
    const double v = 2.0 * (static_cast<double>(draw >> 40) * 0x1p-24) - 1.0;
    values[i] = static_cast<float>(one_dimensional ? 1.0 + 0.1 * v : v * scale);
  }
  return values;
}

void write_seed_weights(const std::string& model, const std::string& flavor,
                        const std::filesystem::path& file) {
  const auto plan = build_model({.name = model,
                                 .flavor = flavor,
                                 .seq_len = 16,
                                 .tensors = at::TensorOptions().device(at::kMeta)});
  const auto parameters = named_parameters_of(*plan);
  nlohmann::ordered_json header;
  int64_t offset = 0;
  for (const auto& [name, parameter] : parameters) {
    const int64_t end = offset + 4 * parameter.numel();
    header[name] = {
        {"dtype", "F32"}, {"shape", parameter.sizes().vec()}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  std::ofstream out(file, std::ios::binary);
  const uint64_t length = text.size();
  out.write(reinterpret_cast<const char*>(&length), 8);
  out << text;
  for (const auto& [name, parameter] : parameters) {
    const auto values = seed_values(name, parameter.dim() == 1, parameter.numel());
    out.write(reinterpret_cast<const char*>(values.data()),
              static_cast<std::streamsize>(values.size() * sizeof(float)));
  }
}

}  // namespace coeus
