// Data parallelism: every rank has other rows, and the gradients of all are summed.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "coeus/comm/parallel_groups.h"
#include "coeus/nn/layer.h"
#include "coeus/parallel/fsdp/parameter_unit.h"
#include "coeus/parallel/sharded_parameters.h"

namespace coeus {

/// How units compute and sum, and when.
struct FsdpOptions {
  /// Whether ranks keep only their pieces between a unit's forward and its backward (ZeRO-3), or
  /// all of it (ZeRO-2), in which case gradients too are whole until the step's last backward pass.
  bool reshard_after_forward = true;
  UnitPrecision precision;
  at::Device device = at::kCPU;  ///< where parameters and gradients are
  /// Whether a pipeline runs the passes: several forward passes are under way at once and backward
  /// comes in two parts, so that parameters stay whole, and gradients are reduced once a step, by
  /// end_pass(). Otherwise each unit is done by its own layers.
  bool in_pipeline = false;
};

/// A parameter of a unit.
struct FsdpParameter {
  std::string name;
  /// Whether it is nothing but a factor of matrix products, so that it may be gathered in
  /// param_dtype: autocast would round it just so. Others are gathered as they are.
  bool multiplies = false;
  bool is_expert = false;  ///< spread over other ranks: see ParallelGroups::expert_shard
};

/// A part of a model whose parameters come and go together.
struct FsdpUnit {
  std::string name;  ///< "layers.3"
  nn::Layer* entry;  ///< the first of its layers to run
  nn::Layer* exit;   ///< the last
  std::vector<FsdpParameter> parameters;
  /// Whether backward reads the values of parameters (an embedding's does not).
  bool backward_reads = true;
  /// Whether its parameters are needed from the entry to the end of backward, as those of an
  /// embedding that is the output's weight too.
  bool always_whole = false;
};

/// Fully sharded data parallelism (Zhao et al., arXiv 2304.11277), over ParallelGroups' shard and
/// replicate: with replicate = 1 it is FSDP, with shard = 1 plain data parallelism (DDP), with both
/// larger HSDP. Layers gather their parameters as they run and give them back afterwards; the next
/// unit's are gathered meanwhile, and gradients are reduced while backward goes on.
class Fsdp {
 public:
  /// `parameters` and the layers outlive this.
  Fsdp(const ParallelGroups& groups, ShardedParameters& parameters, const FsdpOptions& options);
  ~Fsdp();
  Fsdp(const Fsdp&) = delete;
  Fsdp& operator=(const Fsdp&) = delete;

  /// Adds the next unit, in the order of forward.
  void add(const FsdpUnit& unit);
  /// Allocates parameters and gradients.
  void materialize();

  /// Before each forward and backward pass of a step; `last`: of the step.
  void begin_pass(bool last);
  /// After each backward pass; after the last, gradients are complete.
  void end_pass();
  /// Reshards whatever a forward pass without backward has left whole.
  void release();

 private:
  struct Unit {
    FsdpUnit of;
    std::vector<std::unique_ptr<ParameterUnit>> parts;
    bool is_reduced = false;  ///< in this pass
  };

  void enter(size_t index);
  void leave(size_t index);
  void before_backward(size_t index);
  void after_backward(size_t index);
  void reduce(Unit& unit);
  void end_reduction();
  bool reshards(const Unit& unit) const;

  const ParallelGroups& groups_;
  ShardedParameters& parameters_;
  FsdpOptions options_;
  std::vector<std::unique_ptr<Unit>> units_;
  Unit* reducing_ = nullptr;  ///< whose exchange is under way
  bool last_pass_ = true;
};

}  // namespace coeus
