// Siglip2's vision tower as Hugging Face names and describes it. The whole model has no form there.
#pragma once

#include <nlohmann/json.hpp>

#include "coeus/checkpoint/hugging_face_folder.h"
#include "coeus/models/vlm/siglip2.h"

namespace coeus::vlm {

/// Names and config.json of transformers' Siglip2VisionModel, for the tensors of a
/// VisionTransformer standing alone ("layers.0.self_attn.q_proj.weight"). Its pooling head and,
/// in a whole Siglip2Model, the text tower are left unread.
HuggingFaceFormat siglip2_hugging_face_format(const Siglip2Sizes& sizes);

/// The sizes of the vision tower that a config.json (flat: see hugging_face_config.h) describes.
/// Throws ConfigError for what is missing or asks for more than this encoder has.
Siglip2Sizes siglip2_sizes_from_hugging_face(const nlohmann::json& config);

}  // namespace coeus::vlm
