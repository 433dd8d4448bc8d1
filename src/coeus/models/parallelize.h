// How a model is spread over ranks: which of its modules is split in which way.
#pragma once

#include <string>

#include "coeus/models/model.h"
#include "coeus/parallel/tensor/tensor_parallel.h"

namespace coeus {

/// What each family's `parallelize` acts with.
struct ModelParallel {
  TensorParallel& tensor;
};

/// Splits a model of the family `name`, or a pipeline stage of it, that was built without memory
/// (nn::WithoutMemory). Throws ConfigError for a family that cannot be split, and for sizes that
/// the degrees do not fit.
void parallelize(Model& model, const std::string& name, ModelParallel& parallel);

}  // namespace coeus
