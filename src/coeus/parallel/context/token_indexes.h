#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "coeus/mask/context_shard.h"

namespace coeus {

/// One of the shard's own lists (its places, or what it sends or receives) as int64 [size] on a
/// device. Made once for all layers that exchange by the shard: to copy it to a GPU again would
/// wait for the GPU each time. The latest are kept, with their shards. From any thread.
at::Tensor token_indexes(const std::shared_ptr<const ContextShard>& shard,
                         const std::vector<int32_t>& list, const at::Device& device);

}  // namespace coeus
