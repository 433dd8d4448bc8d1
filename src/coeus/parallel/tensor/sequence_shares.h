// A row's tokens spread over ranks: bringing them together, and giving each rank its share back.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "coeus/comm/process_group.h"

namespace coeus {

/// Of rows of `seq_len` tokens, each member of `group` has those of chunk_of(seq_len, size, rank):
/// all as many but the last ones, which may have fewer or none (sequence parallelism, Korthikanti
/// et al., arXiv 2205.05198).
struct SequenceShares {
  std::shared_ptr<ProcessGroup> group;
  int64_t seq_len = 0;
  std::string what;  ///< what is exchanged, for messages: "layers.0.attention"
};

/// x: [batch, this rank's share, …]. Returns all shares, [batch, seq_len, …]; backward gives each
/// rank the sum over ranks of its share's gradient. Throws Error for a share of another length.
at::Tensor gather_sequence(const at::Tensor& x, const SequenceShares& shares);

/// x: [batch, seq_len, …], a part of a sum on every rank. Returns this rank's share of the sum over
/// ranks; backward gathers the shares' gradients. Where a layer is computed again in backward by
/// operation, the result is kept, as TorchTitan keeps it.
at::Tensor reduce_scatter_sequence(const at::Tensor& x, const SequenceShares& shares);

/// x: [batch, seq_len, …], the same on every rank. Returns this rank's share, without a gradient.
at::Tensor take_sequence_share(const at::Tensor& x, const SequenceShares& shares);

/// x: [..., widths[rank]]. Returns all ranks' parts one after the other, [..., sum of widths];
/// backward takes this rank's part of the gradient, which is thought to be the same on all ranks.
at::Tensor gather_last_dimension(const at::Tensor& x, const std::vector<int64_t>& widths,
                                 const std::shared_ptr<ProcessGroup>& group,
                                 const std::string& what);

}  // namespace coeus
