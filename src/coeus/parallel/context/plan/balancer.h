// How a row's tokens are dealt to ranks.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "coeus/parallel/context/plan/context_plan.h"
#include "coeus/parallel/context/plan/context_row.h"

namespace coeus {

enum class Balancer {
  kNone,         ///< rank after rank, as the tokens stand
  kHeadTail,     ///< 2 cp chunks, of which rank r has r and 2 cp - 1 - r (PyTorch, Megatron-LM)
  kPerDocument,  ///< the same in every document (WLB-LLM, arXiv 2503.17924)
  kPtrr,         ///< blocks by how many blocks they see under the mask of the most layers, dealt to
                 ///< and fro (PyTorch's processing-time round-robin)
  kJoint,        ///< least work of the busiest rank over all masks, then fewest keys exchanged
};

/// Reads "none", "headtail", "per_document", "ptrr" or "joint". Throws ConfigError for another
/// name.
Balancer balancer_from_name(std::string_view name);
/// The name that balancer_from_name reads back.
std::string_view name_of(Balancer balancer);

struct BalanceOptions {
  Balancer balancer = Balancer::kJoint;
  int64_t ranks = 1;
  /// kJoint: by which share of the mean a rank may have more or fewer tokens, if that saves work or
  /// bytes; from 0, as equal as can be, to below 1. The others always deal equal shares.
  double slack = 0;
  /// kJoint: how many tokens each rank must have, whatever `slack` says: rows of one batch have as
  /// many tokens on a rank.
  std::optional<std::vector<int64_t>> counts = {};
};

/// Deals the row's tokens. Any length and any number of ranks will do, as long as none is left
/// without a token: throws ConfigError for fewer tokens than ranks, and Error for options out of
/// range or of another balancer.
ContextPlan balance(const ContextRow& row, const BalanceOptions& options);

}  // namespace coeus
