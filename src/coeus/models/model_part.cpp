#include "coeus/models/model_part.h"

#include "coeus/models/shard_parameters.h"
#include "coeus/nn/init.h"
#include "coeus/nn/parameter.h"
#include "coeus/parallel/activation_checkpoint.h"

namespace coeus {

ModelPart::ModelPart(const PartOptions& options, const ParallelGroups& groups) : groups_(groups) {
  {
    const nn::WithoutMemory guard;
    model_ = build_model(options.model);
  }
  if (options.modules) model_->keep_modules(*options.modules);
  parameters_ = std::make_unique<ShardedParameters>(*model_);
  apply_activation_checkpoint(model_->blocks(), options.activation_checkpoint);
  fsdp_ = std::make_unique<Fsdp>(groups_, *parameters_, options.fsdp);
  shard_parameters(*model_, *fsdp_);
}

void ModelPart::init_weights(uint64_t seed) {
  const auto slices = parameters_->slices();
  const nn::SlicedInit sliced(slices);
  model_->init_weights(seed);
}

void ModelPart::begin_pass(int64_t, bool last) { fsdp_->begin_pass(last); }

void ModelPart::end_pass() { fsdp_->end_pass(); }

void ModelPart::release() { fsdp_->release(); }

}  // namespace coeus
