// Llama 4's text model as Hugging Face names and describes it.
#pragma once

#include "coeus/checkpoint/hugging_face_folder.h"
#include "coeus/models/llama4/model.h"

namespace coeus::llama4 {

/// Names, layouts and config.json of transformers' Llama4ForCausalLM. Of a
/// Llama4ForConditionalGeneration, what is not the language model is left unread.
HuggingFaceFormat hugging_face_format(const Sizes& sizes);

/// The sizes of the text model that a config.json (flat: see hugging_face_config.h) describes, with
/// masks by document. Throws ConfigError for what is missing or asks for more than this model has.
Sizes sizes_from_hugging_face(const nlohmann::json& config);

}  // namespace coeus::llama4
