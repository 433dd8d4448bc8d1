// DeepSeek-V2 and V3 as Hugging Face names and describes them.
#pragma once

#include "coeus/checkpoint/hugging_face_folder.h"
#include "coeus/models/deepseek_v3/block.h"

namespace coeus::deepseek_v3 {

/// Names, layouts and config.json of DeepseekV3ForCausalLM or, where routing is by softmax,
/// DeepseekV2ForCausalLM. Prediction layers are its layers from n_layers on, as DeepSeek publishes
/// them; where the model has none, they are left unread.
HuggingFaceFormat hugging_face_format(const Sizes& sizes);

/// The sizes of the model that a config.json (flat: see hugging_face_config.h) describes, masked by
/// document and without prediction layers. YaRN holds at every length. Throws ConfigError for what
/// is missing or asks for more than this model has.
Sizes sizes_from_hugging_face(const nlohmann::json& config);

}  // namespace coeus::deepseek_v3
