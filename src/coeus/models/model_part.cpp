#include "coeus/models/model_part.h"

#include "coeus/models/parallelize.h"
#include "coeus/models/shard_parameters.h"
#include "coeus/nn/init.h"
#include "coeus/nn/parameter.h"
#include "coeus/parallel/activation_checkpoint.h"
#include "coeus/parallel/context/context_attention.h"
#include "coeus/parallel/expert/expert_parallel.h"

namespace coeus {

ModelPart::ModelPart(const PartOptions& options, const ParallelGroups& groups) : groups_(groups) {
  {
    const nn::WithoutMemory guard;
    model_ = build_model(options.model);
  }
  if (options.modules) model_->keep_modules(*options.modules);
  model_->set_loss_chunk_size(options.loss_chunk_size);
  parameters_ = std::make_unique<ShardedParameters>(*model_);
  tensor_ = std::make_unique<TensorParallel>(groups_, *model_, *parameters_, options.tensor);
  ModelParallel parallel = {*tensor_};
  parallelize(*model_, options.model.name, parallel);
  apply_context_parallel(*model_, groups_);
  apply_expert_parallel(*model_, *parameters_, groups_);
  apply_activation_checkpoint(model_->blocks(), options.activation_checkpoint);
  fsdp_ = std::make_unique<Fsdp>(groups_, *parameters_, options.fsdp);
  shard_parameters(*model_, *fsdp_);
  model_->move_buffers(options.fsdp.device);
}

void ModelPart::init_weights(uint64_t seed) {
  const auto slices = parameters_->slices();
  const nn::SlicedInit sliced(slices);
  model_->init_weights(seed);
}

void ModelPart::begin_pass(int64_t seq_len, bool last) {
  tensor_->begin_pass(seq_len);
  fsdp_->begin_pass(last);
}

void ModelPart::end_pass() { fsdp_->end_pass(); }

HeldSlices ModelPart::held_slices() const {
  HeldSlices held;
  for (const ShardedParameter& parameter : parameters()) {
    bool is_writer = groups_.replicate->rank() == 0;
    for (const auto& group : parameter.partial_over) is_writer = is_writer && group->rank() == 0;
    held[parameter.name] = {parameter.slice, is_writer};
  }
  // Buffers are the same on all ranks of a stage.
  const Mesh& mesh = groups_.mesh;
  const bool is_first =
      mesh.dp_replicate() == 0 && mesh.dp_shard() == 0 && mesh.cp() == 0 && mesh.tp() == 0;
  for (const auto& item : model_->named_buffers())
    held[item.key()] = {TensorSlice::whole_of(item.value().sizes().vec()), is_first};
  return held;
}

void ModelPart::release() { fsdp_->release(); }

}  // namespace coeus
