// A model, or one pipeline stage of it, as one rank of a job holds it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "coeus/checkpoint/training_state.h"
#include "coeus/comm/parallel_groups.h"
#include "coeus/models/model.h"
#include "coeus/models/registry.h"
#include "coeus/parallel/activation_checkpoint_config.h"
#include "coeus/parallel/fsdp/fsdp.h"
#include "coeus/parallel/sharded_parameters.h"
#include "coeus/parallel/tensor/tensor_parallel.h"

namespace coeus {

struct PartOptions {
  ModelOptions model;
  /// Those of the model's pipeline_modules() that this part has; nothing: all of the model.
  std::optional<std::vector<std::string>> modules;
  int64_t loss_chunk_size = 0;  ///< see Model::set_loss_chunk_size
  ActivationCheckpointConfig activation_checkpoint;
  TensorParallel::Options tensor;
  FsdpOptions fsdp;
};

/// The part's modules, with the slices of their parameters that are this rank's, and what layers
/// exchange with other ranks as they run. A job of one rank has one part, all of the model.
class ModelPart {
 public:
  /// Parameters are allocated, not initialised; never more than this rank's slices. Throws
  /// ConfigError for a model that cannot be split so.
  ModelPart(const PartOptions& options, const ParallelGroups& groups);
  ModelPart(const ModelPart&) = delete;
  ModelPart& operator=(const ModelPart&) = delete;

  Model& model() { return *model_; }
  const Model& model() const { return *model_; }
  const std::vector<ShardedParameter>& parameters() const { return parameters_->all(); }

  /// Draws this rank's slices, which are those of the whole model drawn with this seed.
  void init_weights(uint64_t seed);
  /// Before each forward pass: how many tokens its rows have, and whether its backward pass is the
  /// step's last.
  void begin_pass(int64_t seq_len, bool last);
  /// After each backward pass. After the last, gradients are complete.
  void end_pass();
  /// After a forward pass without backward.
  void release();

  /// What of the part's tensors this rank holds, and whether it is the one to write them.
  HeldSlices held_slices() const;

 private:
  const ParallelGroups groups_;
  std::shared_ptr<Model> model_;
  std::unique_ptr<ShardedParameters> parameters_;
  std::unique_ptr<TensorParallel> tensor_;
  std::unique_ptr<Fsdp> fsdp_;
};

}  // namespace coeus
