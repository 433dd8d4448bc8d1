// DeepSeek-V2 and V3 as Hugging Face names and describes them.
#pragma once

#include "coeus/checkpoint/hugging_face_folder.h"
#include "coeus/models/deepseek_v3/block.h"

namespace coeus::deepseek_v3 {

/// Names, layouts and config.json of DeepseekV3ForCausalLM or, where routing is by softmax,
/// DeepseekV2ForCausalLM. Prediction layers are its layers from n_layers on, as DeepSeek publishes
/// them; where the model has none, they are left unread.
HuggingFaceFormat hugging_face_format(const Sizes& sizes);

}  // namespace coeus::deepseek_v3
