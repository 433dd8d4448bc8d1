// Rotary parameters of a config.json of Hugging Face's that several families share.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>

#include "coeus/nn/rope.h"

namespace coeus {

/// What `rope_scaling` of a config.json (flat: see hugging_face_config.h) does to frequencies: none
/// for "default", or Llama 3.1's. Throws ConfigError, naming it, for any other kind.
std::optional<nn::RopeScaling> rope_scaling_from_hugging_face(const nlohmann::json& config);

/// `rope_scaling` in its older form; null for none.
nlohmann::json rope_scaling_to_hugging_face(const std::optional<nn::RopeScaling>& scaling);

}  // namespace coeus
