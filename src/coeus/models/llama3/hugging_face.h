// Llama 3 as Hugging Face names and describes it.
#pragma once

#include "coeus/checkpoint/hugging_face_folder.h"
#include "coeus/models/llama3/model.h"

namespace coeus::llama3 {

/// Names, layouts and config.json of transformers' LlamaForCausalLM.
HuggingFaceFormat hugging_face_format(const Sizes& sizes);

/// The sizes of the model that a config.json (flat: see hugging_face_config.h) describes, with a
/// causal mask. Throws ConfigError for what is missing or asks for more than this model has.
Sizes sizes_from_hugging_face(const nlohmann::json& config);

}  // namespace coeus::llama3
