// Parameters that are gathered, and whose gradients are reduced, together.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "coeus/comm/process_group.h"
#include "coeus/parallel/sharded_parameters.h"

namespace coeus {

/// How a unit computes and sums.
struct UnitPrecision {
  at::ScalarType param_dtype = at::kFloat;   ///< of gathered parameters, where ranks shard them
  at::ScalarType reduce_dtype = at::kFloat;  ///< in which gradients are summed over ranks
};

/// Some parameters, each cut into as many pieces as `shard` has ranks, of which this rank keeps one
/// (ZeRO, Rajbhandari et al., arXiv 1910.02054; FSDP, Zhao et al., arXiv 2304.11277). Between
/// unshard() and reshard() the module's parameters are whole; at all other times their values and
/// gradients are this rank's pieces. Several copies of such a set of ranks may exist (`replicate`).
/// With a single rank in `shard` this is plain data parallelism: parameters stay as they are.
///
/// A parameter is cut along its first dimension as torch.chunk cuts, or along the second where the
/// first is too short, as of experts.
class ParameterUnit {
 public:
  /// Narrows the slices of `names`; `parameters` outlives this. To be made while the model is on
  /// the meta device.
  ParameterUnit(std::string name, ShardedParameters& parameters,
                const std::vector<std::string>& names, std::shared_ptr<ProcessGroup> shard,
                std::shared_ptr<ProcessGroup> replicate, const UnitPrecision& precision);
  ParameterUnit(const ParameterUnit&) = delete;
  ParameterUnit& operator=(const ParameterUnit&) = delete;

  /// Allocates this rank's pieces on a device and, where gradients are exchanged, places for those
  /// (zero); otherwise backward's own results are the gradients.
  void materialize(const at::Device& device);

  /// Starts to gather, if it has not been started and parameters are not whole.
  void start_unshard();
  /// Forgets what start_unshard began and nobody took: layers that run more than once in a pass, as
  /// those that predict further tokens let others do, ask for neighbours that do not run again. The
  /// values would be old ones in the next pass.
  void drop_prefetched();
  /// Makes parameters whole.
  void unshard();
  /// Gives parameters the sizes of the whole, for a backward pass that does not read their values.
  void unshard_sizes();
  /// Makes parameters this rank's pieces again and keeps the gradients of the whole.
  void reshard();
  bool is_unsharded() const { return unsharded_; }

  /// Takes the gradients that a backward pass has left, for a reduction after a later one.
  void keep_gradients();
  /// Adds the ranks' sum of all gradients since the last time to the pieces' gradients. The
  /// exchange goes on in the background until `finish_reduction`. Parameters are resharded.
  void start_reduction();
  /// Ends what start_reduction began; nothing otherwise.
  void finish_reduction();
  /// Sums the pieces' gradients over replicas, and over the groups of which each member has a part
  /// of the gradient: once a step, after all backward passes.
  void start_replica_reduction();
  void finish_replica_reduction();

  bool shards() const { return shard_->size() > 1; }

 private:
  struct Part {
    at::Tensor tensor;           ///< the module's
    std::vector<int64_t> whole;  ///< of all pieces together
    std::vector<int64_t> piece;  ///< of this rank's
    int64_t dim = 0;             ///< that is cut
    int64_t outer = 1;           ///< product of the dimensions before it
    int64_t chunk = 0;           ///< the longest piece along it
    int64_t inner = 1;           ///< product of the dimensions after it
    int64_t offset = 0;          ///< of the padded piece in the flat buffer
    at::Tensor piece_values;
    at::Tensor piece_grad;  ///< undefined where no gradients are exchanged
    at::Tensor whole_grad;  ///< kept, in the dtype of reduction; undefined without any
    std::vector<std::shared_ptr<ProcessGroup>> partial_over;

    int64_t padded() const { return outer * chunk * inner; }
  };

  void add_part(ShardedParameters& parameters, const std::string& name);
  at::Tensor view_of(const at::Tensor& flat, const Part& part) const;
  at::Tensor gathered(const at::Tensor& all, const Part& part) const;
  void put_whole_gradient(at::Tensor& flat, const Part& part) const;
  void set_whole(const std::vector<at::Tensor>& values);

  std::string name_;
  std::string parameters_text_;  ///< for messages
  std::string gradients_text_;
  std::shared_ptr<ProcessGroup> shard_;
  std::shared_ptr<ProcessGroup> replicate_;
  UnitPrecision precision_;
  std::vector<Part> parts_;
  int64_t flat_size_ = 0;
  at::Tensor values_;  ///< [flat_size], float32: this rank's pieces, padded
  at::Tensor grads_;   ///< [flat_size]: their gradients
  bool unsharded_ = false;
  Pending gather_;
  Pending reduction_;
  Pending replica_reduction_;
  std::vector<at::Tensor> replica_grads_;
};

}  // namespace coeus
