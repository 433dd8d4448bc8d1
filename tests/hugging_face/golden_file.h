// Tiny models of Hugging Face's, as make_golden.py leaves them: what they are, and what they
// compute.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace coeus {

/// golden/NAME.json: "config", "tensors" (shapes by name) and what the model makes of its inputs.
nlohmann::json golden_file(const std::string& name);

/// float32, by the formula that make_golden.py has for a tensor of this name.
at::Tensor formula_weight(const std::string& name, const std::vector<int64_t>& shape);

/// A list of lists of numbers as float32 [rows, columns].
at::Tensor matrix_of(const nlohmann::json& rows);

/// Writes a model folder: config.json, and model.safetensors with a tensor of formula_weight for
/// each of `shapes`, its name there with `prefix` before it. Returns `folder`, which is made.
std::filesystem::path write_model_folder(const std::filesystem::path& folder,
                                         const nlohmann::json& config, const nlohmann::json& shapes,
                                         const std::string& prefix = "");

/// A golden model's folder with another vocabulary, for a tokenizer's sake.
std::filesystem::path write_model_folder(const std::filesystem::path& folder,
                                         const std::string& golden, int64_t vocab_size);

/// The family that the config.json is of, as model.name says it.
std::string family_of(const nlohmann::json& config);

}  // namespace coeus
