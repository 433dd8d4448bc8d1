#pragma once

#include "coeus/models/deepseek_v3/model.h"

namespace coeus {
struct ModelParallel;
}

namespace coeus::deepseek_v3 {

/// How the model is spread over ranks; see models/parallelize.h.
void parallelize(Transformer& model, ModelParallel& parallel);

}  // namespace coeus::deepseek_v3
