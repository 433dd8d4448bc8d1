#pragma once

#include "coeus/models/qwen3/model.h"

namespace coeus {
struct ModelParallel;
}

namespace coeus::qwen3 {

/// How the model is spread over ranks; see models/parallelize.h.
void parallelize(Transformer& model, ModelParallel& parallel);

}  // namespace coeus::qwen3
