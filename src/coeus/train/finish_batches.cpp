#include "coeus/train/finish_batches.h"

#include <torch/types.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "coeus/parallel/context/context_batch.h"
#include "coeus/train/batch_upload.h"
#include "coeus/train/precision.h"

namespace coeus {

namespace {

/// Rows that go through the layers at once: a micro-batch of the pipeline, or a batch.
int64_t rows_per_pass(const JobConfig& config, const Mesh& mesh) {
  const int64_t rows = config.training.local_batch_size;
  return mesh.degrees().pp == 1
             ? rows
             : std::min(rows, config.parallelism.pipeline_parallel_microbatch_size);
}

std::optional<ContextMethod> method_of(const JobConfig& config) {
  const std::string& method = config.parallelism.context_parallel_method;
  if (method != "auto") return context_method_from_name(method);
  // LibTorch's flash attention wants whole runs of tokens, which only whole rows are.
  if (config.attention.engine == "sdpa") return ContextMethod::kAllToAll;
  // What a ring does cannot be held to the reference.
  if (config.attention.engine == "check") return ContextMethod::kAllGather;
  return std::nullopt;
}

}  // namespace

ContextOptions context_options(const JobConfig& config, const Mesh& mesh, const Model& model) {
  const Model::AttentionShape shape = model.attention_shape();
  const int64_t tp = mesh.degrees().tp;
  const auto on_rank = [tp](int64_t heads) { return std::max<int64_t>(1, heads / tp); };
  ContextOptions options;
  options.ranks = mesh.degrees().cp;
  options.rank = mesh.cp();
  options.balancer = balancer_from_name(config.parallelism.context_parallel_load_balancer);
  options.method = method_of(config);
  options.slack = config.parallelism.context_parallel_slack;
  options.cost.heads = on_rank(shape.heads);
  options.cost.kv_heads = on_rank(shape.kv_heads);
  options.cost.key_dim = shape.key_dim;
  options.cost.value_dim = shape.value_dim;
  options.cost.element_size = static_cast<int64_t>(
      c10::elementSize(dtype_from_name(config.training.mixed_precision_param)));
  return options;
}

ContextRowPlanner context_planner(const JobConfig& config, const Mesh& mesh,
                                  const std::shared_ptr<const Model>& model) {
  return {
      context_options(config, mesh, *model),
      [model](std::span<const SequenceLayout> rows) { return model->get_attention_masks(rows); },
      model->layers_by_mask()};
}

FinishBatches finish_batches(const JobConfig& config, const Mesh& mesh,
                             const std::shared_ptr<const Model>& model, const at::Device& device) {
  const ParallelDegrees& degrees = mesh.degrees();
  const BatchUploader uploader(device, /*whole_masks=*/degrees.pp == 1 && degrees.cp == 1);
  const auto add_image_masks = [model](Batch& batch) {
    if (batch.images.patches() > 0) batch.masks.merge(model->get_image_masks(batch.images.layout));
  };
  if (degrees.cp == 1)
    return [=](std::span<Batch> step) {
      for (Batch& batch : step) {
        batch.masks = model->get_attention_masks(batch.layouts);
        add_image_masks(batch);
        uploader.upload(batch);
      }
    };
  check_order_sensitive_buffers(*model, config.model.name + " " + config.model.flavor,
                                config.training.local_batch_size, config.training.seq_len);
  const ContextRowPlanner planner = context_planner(config, mesh, model);
  const bool balances = planner.options().balancer == Balancer::kJoint;
  return [=, passes = rows_per_pass(config, mesh)](std::span<Batch> step) {
    std::vector<std::vector<ContextRow>> rows;
    for (const Batch& batch : step) rows.push_back(planner.lower_rows(batch.layouts));
    if (balances) balance_passes(step, rows, passes);
    for (size_t i = 0; i < step.size(); ++i) {
      shard_batch(step[i], planner.plan(std::move(rows[i])), planner);
      add_image_masks(step[i]);
      uploader.upload(step[i]);
    }
  };
}

}  // namespace coeus
