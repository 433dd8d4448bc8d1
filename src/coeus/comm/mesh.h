// Where a rank stands in a job: which part of the work of each kind of parallelism is its own.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace coeus {

/// How many ways each kind of parallelism splits, as TorchTitan's [parallelism] names them. Their
/// product without the experts' two is the number of ranks.
struct ParallelDegrees {
  int64_t pp = 1;
  int64_t dp_replicate = 1;
  int64_t dp_shard = 1;
  int64_t cp = 1;
  int64_t tp = 1;
  /// Ranks that a layer's experts are spread over, out of dp_shard x cp (and tp where etp is 1).
  int64_t ep = 1;
  /// Ranks that each expert's matrices are split over: 1 or tp.
  int64_t etp = 1;

  int64_t world() const { return pp * dp_replicate * dp_shard * cp * tp; }
  bool operator==(const ParallelDegrees&) const = default;
};

/// `degrees` with dp_shard = -1 replaced by what the others leave of `world` ranks. Throws
/// ConfigError, with the numbers that do not fit, for degrees that cannot be.
ParallelDegrees resolved(ParallelDegrees degrees, int64_t world);

/// The ranks of a job as a grid, with dimensions as TorchTitan orders them: pp, dp_replicate,
/// dp_shard, cp, tp; neighbours in tp have neighbouring numbers. Experts see the ranks of one
/// pipeline stage and replica as expert_shard x ep (x tp, where experts are split over it).
class Mesh {
 public:
  /// `degrees` are those of resolved().
  Mesh(const ParallelDegrees& degrees, int64_t rank);

  const ParallelDegrees& degrees() const { return degrees_; }
  int64_t rank() const { return rank_; }
  int64_t world() const { return degrees_.world(); }

  /// This rank's place along each dimension.
  int64_t pp() const { return pp_; }
  int64_t dp_replicate() const { return dp_replicate_; }
  int64_t dp_shard() const { return dp_shard_; }
  int64_t cp() const { return cp_; }
  int64_t tp() const { return tp_; }
  /// Among the ranks that take different rows of a batch, and how many they are.
  int64_t data_rank() const { return dp_replicate_ * degrees_.dp_shard + dp_shard_; }
  int64_t data_ranks() const { return degrees_.dp_replicate * degrees_.dp_shard; }

  /// Whether each expert's matrices are split over tp: where etp is tp, and where experts are not
  /// spread.
  bool splits_experts() const { return degrees_.tp > 1 && (degrees_.ep == 1 || degrees_.etp > 1); }
  /// Ranks that hold different parts of the same experts.
  int64_t expert_shards() const;

  /// The ranks, ascending, that differ from this one in nothing but …
  std::vector<int64_t> pipeline_ranks() const;      ///< the pipeline stage
  std::vector<int64_t> replicate_ranks() const;     ///< dp_replicate
  std::vector<int64_t> shard_ranks() const;         ///< dp_shard and cp: FSDP's
  std::vector<int64_t> data_group_ranks() const;    ///< dp_replicate and dp_shard
  std::vector<int64_t> loss_ranks() const;          ///< those and cp: they see other tokens
  std::vector<int64_t> context_ranks() const;       ///< cp
  std::vector<int64_t> tensor_ranks() const;        ///< tp
  std::vector<int64_t> expert_ranks() const;        ///< ep: they hold other experts
  std::vector<int64_t> expert_shard_ranks() const;  ///< FSDP's of experts
  std::vector<int64_t> all_ranks() const;

  /// "pp 2 x dp_shard 2 x tp 2", for messages; "1 rank" for none.
  std::string to_string() const;

 private:
  int64_t at(int64_t pp, int64_t dp_replicate, int64_t dp_shard, int64_t cp, int64_t tp) const;
  /// Ranks of this stage and replica by their place in dp_shard, cp (and tp unless split).
  int64_t expert_place() const;
  std::vector<int64_t> at_expert_places(int64_t first, int64_t count, int64_t step) const;

  ParallelDegrees degrees_;
  int64_t rank_;
  int64_t pp_, dp_replicate_, dp_shard_, cp_, tp_;
};

}  // namespace coeus
