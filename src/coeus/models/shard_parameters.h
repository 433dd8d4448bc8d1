#pragma once

#include "coeus/models/model.h"
#include "coeus/parallel/fsdp/fsdp.h"

namespace coeus {

/// Makes units of a model's parameters: the embedding, each block, and the last norm with the
/// output. Whatever does not run in every pass, as an image encoder, and a weight that serves at
/// both ends, is with the embedding, and whole from the first layer to the end of backward. Serves
/// a pipeline stage, which has some of these. Ends with parameters allocated, not initialised.
void shard_parameters(Model& model, Fsdp& fsdp);

}  // namespace coeus
