#include "coeus/parallel/context/context_attention.h"

#include <torch/types.h>

#include <cmath>
#include <numeric>
#include <string>

#include "coeus/base/error.h"
#include "coeus/nn/inner_attention.h"
#include "coeus/nn/whole_rows.h"
#include "coeus/ops/attention_report.h"
#include "coeus/parallel/context/plan/context_cost.h"
#include "coeus/parallel/context/ring_attention.h"
#include "coeus/parallel/context/token_indexes.h"

namespace coeus {

namespace {

/// The mask that piece number `piece` of each row makes.
BlockMask pieces_of(const ContextRanks& ranks, size_t piece) {
  std::vector<std::shared_ptr<const BlockMaskRow>> rows;
  for (const auto& shard : ranks.rows) rows.push_back(shard->pieces.at(piece));
  return BlockMask(std::move(rows));
}

/// Keys and values side by side, [batch, tokens, width], so that one exchange takes both.
at::Tensor joined(const at::Tensor& k, const at::Tensor& v) {
  return at::cat({k.flatten(2), v.flatten(2)}, -1);
}
at::Tensor keys_of(const at::Tensor& joined, const at::Tensor& k) {
  return joined.narrow(-1, 0, k.size(2) * k.size(3)).unflatten(-1, {k.size(2), k.size(3)});
}
at::Tensor values_of(const at::Tensor& joined, const at::Tensor& k, const at::Tensor& v) {
  return joined.narrow(-1, k.size(2) * k.size(3), v.size(2) * v.size(3))
      .unflatten(-1, {v.size(2), v.size(3)});
}

/// Zeros, in place of attention over nothing, whose backward still passes through `nothing`, a zero
/// made of what was exchanged: the other ranks wait for this one there.
at::Tensor zeros_after(const at::Tensor& nothing, at::IntArrayRef shape) {
  return at::zeros(shape, nothing.options()) + nothing;
}

at::Tensor over_all_keys(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                         const BlockMask& mask, const AttentionOptions& options,
                         const ContextRanks& ranks) {
  const at::Tensor all = gather_tokens(joined(k, v), ranks);
  return attention(q, keys_of(all, k), values_of(all, k, v), mask, options);
}

at::Tensor over_needed_keys(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const AttentionOptions& options, const ContextRanks& ranks) {
  const std::vector<at::Tensor> needed = gather_needed_tokens(joined(k, v), ranks);
  // Rows see different numbers of keys.
  std::vector<at::Tensor> out;
  for (int64_t b = 0; b < ranks.batch_size(); ++b) {
    if (needed[b].size(1) == 0) {
      const at::Tensor nothing = needed[b].sum() + q.narrow(0, b, 1).sum() * 0;
      out.push_back(zeros_after(nothing, {1, q.size(1), q.size(2), v.size(3)}));
      continue;
    }
    const BlockMask mask({ranks.rows[b]->pieces.at(0)});
    out.push_back(attention(q.narrow(0, b, 1), keys_of(needed[b], k), values_of(needed[b], k, v),
                            mask, options));
  }
  return at::cat(out);
}

/// The heads that each rank attends with. Where a rank's query heads share key heads evenly it gets
/// those; else `repeat` tells for each of its query heads which of its key heads it uses.
struct HeadShares {
  HeadShares(int64_t heads, int64_t kv_heads, int64_t ranks, int64_t rank) {
    const int64_t shared = heads / kv_heads;
    int64_t begin = 0;
    for (const int64_t count : heads_by_rank(heads, ranks)) {
      const int64_t end = begin + count;
      std::vector<int64_t> of_queries(count);
      std::iota(of_queries.begin(), of_queries.end(), begin);
      std::vector<int64_t> of_keys;
      if (count > 0) {
        of_keys.resize((end - 1) / shared - begin / shared + 1);
        std::iota(of_keys.begin(), of_keys.end(), begin / shared);
      }
      const bool is_even = of_keys.size() <= 1 || (begin % shared == 0 && end % shared == 0);
      if (static_cast<int64_t>(queries.size()) == rank && !is_even)
        for (int64_t head = begin; head < end; ++head)
          repeat.push_back(head / shared - begin / shared);
      queries.push_back(std::move(of_queries));
      keys.push_back(std::move(of_keys));
      begin = end;
    }
  }
  HeadsByRank queries, keys;
  std::vector<int64_t> repeat;  ///< of this rank; empty where heads are shared evenly
};

at::Tensor over_own_heads(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const AttentionOptions& options, const ContextRanks& ranks) {
  const HeadShares shares(q.size(2), k.size(2), ranks.group->size(), ranks.group->rank());
  QueriesKeysValues own = tokens_to_heads({q, k, v}, shares.queries, shares.keys, ranks);
  at::Tensor out;
  if (own.q.size(2) == 0) {
    const at::Tensor nothing = own.q.sum() + own.k.sum() + own.v.sum();
    out = zeros_after(nothing, {q.size(0), ranks.row_length(), 0, v.size(3)});
  } else {
    if (!shares.repeat.empty()) {
      const at::Tensor repeat =
          at::tensor(shares.repeat, at::TensorOptions().dtype(at::kLong)).to(q.device());
      own.k = own.k.index_select(2, repeat);
      own.v = own.v.index_select(2, repeat);
    }
    out = attention(own.q, own.k, own.v, pieces_of(ranks, 0), options);
  }
  return heads_to_tokens(out, shares.queries, ranks);
}

at::Tensor around_the_ring(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           const BlockMask& mask, const AttentionOptions& options,
                           const ContextRanks& ranks) {
  COEUS_CHECK(options.engine != AttentionEngine::kCheck,
              "[context_attention] attention.engine = \"check\" cannot look into a ring of ranks; "
              "use parallelism.context_parallel_method = \"allgather\"");
  std::vector<BlockMask> masks;
  for (int64_t rank = 0; rank < ranks.group->size(); ++rank)
    masks.push_back(pieces_of(ranks, static_cast<size_t>(rank)));
  if (options.report)
    options.report->add_choice(
        options.layer,
        resolve_attention_engine(q, v, masks[static_cast<size_t>(ranks.group->rank())],
                                 options.engine),
        mask);
  const double scale = options.scale.value_or(1.0 / std::sqrt(static_cast<double>(q.size(3))));
  return ring_attention(q, k, v, masks, options.engine, scale, ranks);
}

ContextRanks ranks_of(const BlockMask& mask, const std::shared_ptr<ProcessGroup>& group,
                      const std::string& what) {
  ContextRanks ranks = {group, {}, what};
  for (int64_t row = 0; row < mask.batch_size(); ++row) ranks.rows.push_back(mask.shard(row));
  return ranks;
}

void set_exchange(nn::WholeRowsImpl& rows, const std::shared_ptr<ProcessGroup>& group) {
  rows.set_exchange(
      [group](const at::Tensor& x, const BlockMask& mask) {
        return gather_tokens(x.unsqueeze(-1), ranks_of(mask, group, "tokens of whole rows"))
            .squeeze(-1);
      },
      [](const at::Tensor& x, const BlockMask& mask) {
        std::vector<at::Tensor> own;
        for (int64_t row = 0; row < mask.batch_size(); ++row) {
          const auto shard = mask.shard(row);
          own.push_back(x.select(0, row).index_select(
              0,
              token_indexes(shard, shard->places[static_cast<size_t>(shard->rank)], x.device())));
        }
        return at::stack(own);
      });
}

}  // namespace

at::Tensor context_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                             const BlockMask& mask, const AttentionOptions& options,
                             const std::shared_ptr<ProcessGroup>& group) {
  COEUS_CHECK(mask.batch_size() == q.size(0), "[context_attention] the mask has {} rows and q {}",
              mask.batch_size(), q.size(0));
  const ContextRanks ranks =
      ranks_of(mask, group, options.layer.empty() ? "attention" : options.layer);
  switch (ranks.rows.at(0)->method) {
    case ContextMethod::kAllGather:
      return over_all_keys(q, k, v, mask, options, ranks);
    case ContextMethod::kNeeded:
      return over_needed_keys(q, k, v, options, ranks);
    case ContextMethod::kAllToAll:
      return over_own_heads(q, k, v, options, ranks);
    case ContextMethod::kRing:
      return around_the_ring(q, k, v, mask, options, ranks);
  }
  COEUS_ASSERT(false);
}

void apply_context_parallel(const torch::nn::Module& model, const ParallelGroups& groups) {
  if (groups.context->size() == 1) return;
  for (const auto& module : model.named_modules("", /*include_self=*/false)) {
    if (auto* const rows = dynamic_cast<nn::WholeRowsImpl*>(module.value().get()))
      set_exchange(*rows, groups.context);
    auto* const attention = dynamic_cast<nn::InnerAttentionImpl*>(module.value().get());
    if (attention == nullptr) continue;
    attention->set_sharded_attention(
        [group = groups.context, layer = module.key().substr(0, module.key().rfind('.'))](
            const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const BlockMask& mask,
            AttentionOptions options) {
          options.layer = layer;
          return context_attention(q, k, v, mask, options, group);
        });
  }
}

void check_same_plan(uint64_t hash, ProcessGroup& group) {
  const at::Tensor hashes =
      group.all_gather(at::full({1}, static_cast<int64_t>(hash), at::kLong), "hashes of plans");
  std::string others;
  for (int64_t r = 0; r < group.size(); ++r)
    if (hashes[r].item<int64_t>() != static_cast<int64_t>(hash))
      others += fmt::format("{}{}", others.empty() ? "" : ", ", group.ranks()[r]);
  COEUS_CHECK(others.empty(),
              "[context parallelism] rank {} deals tokens otherwise than rank {} does: all must "
              "have the same rows, masks and [parallelism] settings",
              group.ranks()[group.rank()], others);
}

}  // namespace coeus
