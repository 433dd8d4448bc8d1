// Llama 4's text model as Hugging Face names and describes it.
#pragma once

#include "coeus/checkpoint/hugging_face_folder.h"
#include "coeus/models/llama4/model.h"

namespace coeus::llama4 {

/// Names, layouts and config.json of transformers' Llama4ForCausalLM. Of a
/// Llama4ForConditionalGeneration, what is not the language model is left unread.
HuggingFaceFormat hugging_face_format(const Sizes& sizes);

}  // namespace coeus::llama4
