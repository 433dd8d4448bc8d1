#include "coeus/models/hugging_face_rope.h"

#include <string>

#include "coeus/checkpoint/hugging_face_config.h"

namespace coeus {

std::optional<nn::RopeScaling> rope_scaling_from_hugging_face(const nlohmann::json& config) {
  const auto found = config.find("rope_scaling");
  if (found == config.end() || found->is_null()) return std::nullopt;
  const char* kind = found->contains("rope_type") ? "rope_type" : "type";
  expect_hugging_face_value(*found, kind, {"llama3", "default"});
  if (hugging_face_value<std::string>(*found, kind, "default") == "default") return std::nullopt;
  return nn::RopeScaling{.factor = hugging_face_value<double>(*found, "factor"),
                         .low_freq_factor = hugging_face_value<double>(*found, "low_freq_factor"),
                         .high_freq_factor = hugging_face_value<double>(*found, "high_freq_factor"),
                         .original_max_position = hugging_face_value<int64_t>(
                             *found, "original_max_position_embeddings")};
}

nlohmann::json rope_scaling_to_hugging_face(const std::optional<nn::RopeScaling>& scaling) {
  if (!scaling) return nullptr;
  return {{"rope_type", "llama3"},
          {"factor", scaling->factor},
          {"low_freq_factor", scaling->low_freq_factor},
          {"high_freq_factor", scaling->high_freq_factor},
          {"original_max_position_embeddings", scaling->original_max_position}};
}

}  // namespace coeus
