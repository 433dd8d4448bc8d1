#include "coeus/train/parallel_model.h"

#include <torch/types.h>

#include "coeus/base/error.h"
#include "coeus/nn/autocast.h"
#include "coeus/nn/inner_attention.h"
#include "coeus/parallel/expert/load_balance_over_ranks.h"
#include "coeus/parallel/pipeline/pipeline_plan.h"
#include "coeus/train/batch_upload.h"
#include "coeus/train/job_model.h"
#include "coeus/train/non_finite.h"
#include "coeus/train/precision.h"
#include "coeus/train/profiler.h"

namespace coeus {

namespace {

PipelineBatch pipeline_batch(const Batch& batch, const at::Device& device) {
  const BatchTensors tensors = tensors_of(batch, device);
  return {tensors.tokens, tensors.labels, tensors.positions, batch.masks};
}

bool splits_backward(const PipelineSchedule& schedule) {
  for (const auto& actions : schedule.ranks)
    for (const Action& action : actions)
      if (action.kind == ActionKind::kWeightGradient) return true;
  return false;
}

}  // namespace

ParallelModel::ParallelModel(const JobConfig& config, const ParallelGroups& groups,
                             const Model& whole, const at::Device& device)
    : groups_(groups),
      device_(device),
      mixed_precision_(dtype_from_name(config.training.mixed_precision_param)) {
  if (groups.mesh.degrees().pp > 1)
    build_pipeline(config, whole);
  else
    parts_.push_back(
        std::make_unique<ModelPart>(job_part_options(config, groups.mesh, device), groups));
}

ParallelModel::~ParallelModel() = default;

void ParallelModel::build_pipeline(const JobConfig& config, const Model& whole) {
  check_pipeline(whole, config.model.name + " " + config.model.flavor);
  PipelinePlan plan =
      plan_pipeline(config.parallelism, whole.pipeline_modules(), config.training.local_batch_size);
  PartOptions options = job_part_options(config, groups_.mesh, device_);
  // Weights' gradients come after their stage's backward pass, when weights must still be whole.
  if (splits_backward(plan.schedule)) options.fsdp.reshard_after_forward = false;
  stages_ = plan.schedule.stages_of(groups_.mesh.pp());
  std::vector<PipelineStage> stages;
  for (const int64_t stage : stages_) {
    options.modules = plan.stages[static_cast<size_t>(stage)];
    parts_.push_back(std::make_unique<ModelPart>(options, groups_));
    stages.push_back({stage, [this, stage](const at::Tensor& input, const at::Tensor& positions,
                                           const AttentionMasks& masks) {
                        return part_of(stage).model().forward_part(input, positions, masks);
                      }});
  }
  PipelineOptions pipeline;
  pipeline.hidden_size = whole.hidden_size();
  pipeline.hidden_seq_len = [this](int64_t seq_len) {
    return chunk_of(seq_len, groups_.tensor->size(), groups_.tensor->rank()).size;
  };
  pipeline.hidden_dtype = dtype_from_name(config.training.dtype);
  pipeline.micro_batch_size = plan.micro_batch_size;
  pipeline.receives_ahead = device_.is_cpu();
  pipeline.autocast = mixed_precision_;
  pipeline.hooks.before_layers = [this](int64_t stage) {
    part_of(stage).begin_pass(seq_len_, /*last=*/false);
  };
  pipeline.hooks.gradients_complete = [this](int64_t stage) {
    if (!last_batch_) return;
    part_of(stage).begin_pass(seq_len_, /*last=*/true);
    part_of(stage).end_pass();
  };
  pipeline_ = std::make_unique<PipelineRuntime>(std::move(plan.schedule), std::move(stages),
                                                make_group_transport(groups_.pipeline), pipeline);
}

ModelPart& ParallelModel::part_of(int64_t stage) {
  for (size_t i = 0; i < stages_.size(); ++i)
    if (stages_[i] == stage) return *parts_[i];
  COEUS_ASSERT(false);
}

void ParallelModel::init_weights(uint64_t seed) {
  for (const auto& part : parts_) part->init_weights(seed);
}

void ParallelModel::report_attention(const std::shared_ptr<AttentionReport>& report) {
  for (const auto& part : parts_) nn::report_attention(part->model(), report);
}

void ParallelModel::watch(Profiler& profiler) {
  for (const auto& part : parts_) profiler.watch(part->model());
}

void ParallelModel::begin_step(int64_t rows) {
  for (const auto& part : parts_) part->model().begin_step(rows);
}

at::Tensor ParallelModel::forward_backward(const Batch& batch, const at::Tensor& divisor,
                                           bool last) {
  last_batch_ = last;
  seq_len_ = batch.seq_len;
  if (pipeline_)
    return pipeline_->run(pipeline_batch(batch, device_),
                          [&](const at::Tensor& normed, const at::Tensor& labels) {
                            return parts_.back()->model().loss_of(normed, labels) / divisor;
                          });
  ModelPart& part = *parts_.front();
  const BatchTensors tensors = tensors_of(batch, device_);
  part.begin_pass(batch.seq_len, last);
  at::Tensor loss;
  {
    const nn::Autocast autocast(mixed_precision_);
    loss = part.model().loss_sum_with_images(tensors.tokens, tensors.labels, tensors.positions,
                                             batch.masks, tensors.images) /
           divisor;
  }
  loss.backward();
  part.end_pass();
  return loss.detach();
}

void ParallelModel::before_optimizer_step(const at::Tensor& updates) {
  for (const auto& part : parts_)
    part->model().before_optimizer_step(sum_of_tokens(groups_), updates);
}

at::Tensor ParallelModel::evaluate(const Batch& batch) {
  const at::NoGradGuard no_grad;
  const nn::Autocast autocast(mixed_precision_);
  seq_len_ = batch.seq_len;
  at::Tensor loss = at::zeros({}, at::TensorOptions().dtype(at::kDouble).device(device_));
  if (pipeline_) {
    pipeline_->evaluate(pipeline_batch(batch, device_),
                        [&](const at::Tensor& normed, const MicroBatch& micro_batch) {
                          loss += parts_.back()->model().loss_of(normed, micro_batch.labels);
                        });
  } else {
    Model& model = parts_.front()->model();
    const BatchTensors tensors = tensors_of(batch, device_);
    parts_.front()->begin_pass(batch.seq_len, /*last=*/true);
    const at::Tensor normed =
        model.hidden_states(tensors.tokens, tensors.positions, batch.masks, tensors.images);
    loss += model.loss_of(normed, tensors.labels);
  }
  for (const auto& part : parts_) part->release();
  return loss;
}

std::string ParallelModel::first_bad_output(const Batch& batch) {
  if (pipeline_) return "";
  const nn::Autocast autocast(mixed_precision_);
  parts_.front()->begin_pass(batch.seq_len, /*last=*/true);
  return coeus::first_bad_output(parts_.front()->model(), tensors_of(batch, device_), batch.masks,
                                 batch.layouts);
}

std::vector<std::pair<std::string, at::Tensor>> ParallelModel::parameters() const {
  std::vector<std::pair<std::string, at::Tensor>> all;
  for (const auto& part : parts_)
    for (const ShardedParameter& parameter : part->parameters())
      all.emplace_back(parameter.name, parameter.tensor);
  return all;
}

std::vector<int64_t> ParallelModel::copies() const {
  std::vector<int64_t> copies;
  for (const auto& part : parts_)
    for (const ShardedParameter& parameter : part->parameters()) copies.push_back(parameter.copies);
  return copies;
}

NamedTensors ParallelModel::checkpoint_tensors() const {
  NamedTensors all;
  for (const auto& part : parts_)
    for (auto& named : checkpoint_tensors_of(part->model())) all.push_back(std::move(named));
  return all;
}

HeldSlices ParallelModel::held_slices() const {
  HeldSlices all;
  if (groups_.mesh.world() == 1) return all;
  for (const auto& part : parts_) all.merge(part->held_slices());
  return all;
}

std::function<std::vector<std::pair<std::string, double>>()> ParallelModel::step_metrics() const {
  nn::NamedMoELayers layers;
  std::vector<std::pair<std::string, double>> of_models;
  for (const auto& part : parts_) {
    for (auto& layer : nn::moe_layers_of(part->model())) layers.push_back(std::move(layer));
    for (auto& metric : part->model().step_metrics()) of_models.push_back(std::move(metric));
  }
  return [usage = begin_expert_usage_metrics(layers, groups_), of_models = std::move(of_models)] {
    auto metrics = usage();
    metrics.insert(metrics.end(), of_models.begin(), of_models.end());
    return metrics;
  };
}

}  // namespace coeus
