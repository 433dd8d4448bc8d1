// Keys and values on their way to other ranks' queries, and their gradients on the way back.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "coeus/comm/process_group.h"
#include "coeus/mask/context_shard.h"

namespace coeus {

/// The rows of a batch as the members of `group` have them, one shard a row; all rows have equally
/// many tokens on a rank.
struct ContextRanks {
  std::shared_ptr<ProcessGroup> group;
  std::vector<std::shared_ptr<const ContextShard>> rows;
  std::string what;  ///< what is exchanged, for messages: "layers.0.attention"

  int64_t batch_size() const { return static_cast<int64_t>(rows.size()); }
  /// Tokens of each row on each rank, and on all.
  std::vector<int64_t> counts() const;
  int64_t row_length() const;
};

/// x: [batch, this rank's tokens, width]. Returns all tokens, [batch, row_length, width] in row
/// order; backward gives each rank the sum over ranks of its tokens' gradients.
at::Tensor gather_tokens(const at::Tensor& x, const ContextRanks& ranks);

/// The same with those tokens alone that this rank's queries see: for each row [1, keys, width], in
/// row order, as ContextShard::sent and ::received say.
std::vector<at::Tensor> gather_needed_tokens(const at::Tensor& x, const ContextRanks& ranks);

/// For each rank the heads of some tensor that it attends with, one after the other.
using HeadsByRank = std::vector<std::vector<int64_t>>;

struct QueriesKeysValues {
  at::Tensor q, k, v;
};

/// x: each [batch, this rank's tokens, heads, dim]. Returns, in one exchange, all tokens of this
/// rank's heads, [batch, row_length, heads of the rank, dim] in row order (Ulysses: Jacobs et al.,
/// arXiv 2309.14509). A head may go to several ranks: backward sums what they return.
QueriesKeysValues tokens_to_heads(const QueriesKeysValues& x, const HeadsByRank& query_heads,
                                  const HeadsByRank& key_heads, const ContextRanks& ranks);
/// The way back for attention's output: x: [batch, row_length, this rank's heads, dim]. Returns
/// [batch, this rank's tokens, all heads, dim]. Each head comes from one rank.
at::Tensor heads_to_tokens(const at::Tensor& x, const HeadsByRank& heads,
                           const ContextRanks& ranks);

}  // namespace coeus
