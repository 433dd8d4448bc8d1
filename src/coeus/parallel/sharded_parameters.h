// What a rank holds of each parameter of its part of the model.
#pragma once

#include <torch/nn/module.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "coeus/base/tensor_slice.h"
#include "coeus/comm/process_group.h"

namespace coeus {

/// A parameter and this rank's slice of it.
struct ShardedParameter {
  std::string name;   ///< "layers.0.attention.wq.weight"
  at::Tensor tensor;  ///< the module's own, of the slice's size whenever no layer is at work
  TensorSlice slice;
  /// Ranks of the pipeline stage that hold the same values.
  int64_t copies = 1;
  /// Groups whose members hold the same values and have each a part of the gradient, which is the
  /// sum over them.
  std::vector<std::shared_ptr<ProcessGroup>> partial_over;
};

/// The parameters of a model, or of a pipeline stage of it. They are split before they have memory
/// (see nn::WithoutMemory), so that no rank ever has memory for more than its own slices.
class ShardedParameters {
 public:
  /// Every parameter of `model`, whole.
  explicit ShardedParameters(const torch::nn::Module& model);

  /// From now on this rank holds [begin, begin + size) of what it held along `dim`.
  void narrow(const std::string& name, int64_t dim, int64_t begin, int64_t size);
  /// The members of `group` hold the same values of this parameter, and see other tokens or work
  /// with other parts of the model: its gradient is the sum of theirs.
  void sum_gradient_over(const std::string& name, const std::shared_ptr<ProcessGroup>& group);

  /// Allocates the slice of every parameter that has no memory yet; values are not initialised.
  void materialize();

  /// Throws Error for a name that there is not.
  ShardedParameter& at(const std::string& name);
  bool contains(const std::string& name) const { return places_.contains(name); }
  std::vector<ShardedParameter>& all() { return parameters_; }
  const std::vector<ShardedParameter>& all() const { return parameters_; }
  /// By name: what a rank draws and stores of each.
  std::map<std::string, TensorSlice> slices() const;

 private:
  std::vector<ShardedParameter> parameters_;
  std::map<std::string, size_t> places_;
};

/// The rows of `size` that member `rank` of `ranks` holds, begin and number: as torch.chunk cuts,
/// all pieces of ceil(size / ranks) but the last ones, which may be shorter or empty.
struct ChunkRange {
  int64_t begin = 0;
  int64_t size = 0;
};
ChunkRange chunk_of(int64_t size, int64_t ranks, int64_t rank);
/// Of all ranks, how many rows each holds.
std::vector<int64_t> chunk_sizes(int64_t size, int64_t ranks);

}  // namespace coeus
