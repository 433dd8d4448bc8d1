// PaLM by Hugging Face's customs.
#pragma once

#include "add_a_model/model.h"
#include "coeus/checkpoint/hugging_face_folder.h"

namespace coeus::palm {

/// Names and config.json. transformers has no class for PaLM; these are the names that its models
/// of parallel blocks have (CohereForCausalLM).
HuggingFaceFormat hugging_face_format(const Sizes& sizes);

}  // namespace coeus::palm
