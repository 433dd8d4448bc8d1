// Tokens sent to the ranks that hold their experts, and their results sent back.
#pragma once

#include <memory>
#include <string>

#include "coeus/comm/process_group.h"
#include "coeus/nn/moe/experts.h"

namespace coeus {

/// What to give GroupedExperts::set_dispatch where the members of `group` hold the experts of a
/// layer in the order of ranks, chunk_sizes(num_experts, group size) of them each (GShard,
/// arXiv 2006.16668). Every forward exchanges once how many rows each expert gets, then the rows,
/// of any number from and to each rank, none included; results, and in backward gradients, go the
/// same ways back. A rank computes the rows of an expert in the order of the ranks that they come
/// from, which is their order in a batch of all ranks' rows.
///
/// The members must run the layer equally often, whether they have tokens or not. `name`: the
/// layer's, for messages and traces ("layers.1.moe.experts"). Under autocast rows travel in its
/// dtype.
nn::GroupedExpertsImpl::Dispatch exchange_tokens(std::shared_ptr<ProcessGroup> group,
                                                 int64_t num_experts, std::string name);

}  // namespace coeus
