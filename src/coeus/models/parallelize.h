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

/// What the plans of several families share: how the embedding, the last norm and the output are
/// split, of a whole model or a stage of it …
void split_ends(TensorParallel& parallel, int64_t vocab_size);
/// … and a block's mixture of experts, or its SwiGLU feed-forward layer where it has none.
void split_feed_forward(TensorParallel& parallel, const std::string& block);

/// Splits a model of the family `name`, or a pipeline stage of it, that was built without memory
/// (nn::WithoutMemory). Throws ConfigError for a family that cannot be split, and for sizes that
/// the degrees do not fit.
void parallelize(Model& model, const std::string& name, ModelParallel& parallel);

}  // namespace coeus
