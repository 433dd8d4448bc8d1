#pragma once

#include "coeus/models/llama4/model.h"

namespace coeus {
struct ModelParallel;
}

namespace coeus::llama4 {

/// How the model is spread over ranks; see models/parallelize.h.
void parallelize(Transformer& model, ModelParallel& parallel);

}  // namespace coeus::llama4
