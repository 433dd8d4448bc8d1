#include "coeus/models/model.h"

#include <torch/types.h>

#include <set>

#include "coeus/base/error.h"

namespace coeus {

at::Tensor Model::forward(const at::Tensor& tokens, const at::Tensor& positions,
                          const AttentionMasks& masks) {
  return output(hidden_states(tokens, positions, masks, {}));
}

at::Tensor Model::loss_sum(const at::Tensor& tokens, const at::Tensor& labels,
                           const at::Tensor& positions, const AttentionMasks& masks) {
  return loss_of(hidden_states(tokens, positions, masks, {}), labels);
}

at::Tensor Model::loss_of(const at::Tensor& normed, const at::Tensor& labels) {
  return loss_chunk_size_ > 0 ? loss_by_chunks(normed, labels, loss_chunk_size_, cross_entropy_)
                              : cross_entropy_(output(normed), labels);
}

at::Tensor Model::forward_with_images(const at::Tensor& tokens, const at::Tensor& positions,
                                      const AttentionMasks& masks, const ImageTensors& images) {
  return output(hidden_states(tokens, positions, masks, images));
}

at::Tensor Model::loss_sum_with_images(const at::Tensor& tokens, const at::Tensor& labels,
                                       const at::Tensor& positions, const AttentionMasks& masks,
                                       const ImageTensors& images) {
  if (images.count() == 0 && patch_dim() == 0) return loss_sum(tokens, labels, positions, masks);
  return loss_of(hidden_states(tokens, positions, masks, images), labels);
}

at::Tensor Model::forward_cached(const at::Tensor&, const at::Tensor&, const AttentionMasks&,
                                 nn::KeyValueCache&) {
  throw Error("[Model::forward_cached] this model keeps no keys of earlier tokens");
}

void Model::keep_modules(const std::vector<std::string>&) {
  throw Error("[Model::keep_modules] this model cannot be cut into parts: " + pipeline_obstacle());
}

at::Tensor Model::forward_part(const at::Tensor&, const at::Tensor&, const AttentionMasks&) {
  throw Error("[Model::forward_part] this model cannot be cut into parts: " + pipeline_obstacle());
}

void check_pipeline(const Model& model, const std::string& name) {
  const std::string obstacle = model.pipeline_obstacle();
  COEUS_CHECK_CONFIG(obstacle.empty(),
                     "parallelism.pipeline_parallel_degree: {} cannot be cut into stages: {}", name,
                     obstacle);
}

void check_order_sensitive_buffers(const Model& model, const std::string& name, int64_t batch_size,
                                   int64_t seq_len) {
  std::set<std::string> missing = {"tokens", "labels", "positions"};
  for (const OrderSensitiveBuffer& buffer :
       model.get_order_sensitive_buffers(batch_size, seq_len)) {
    COEUS_CHECK(missing.erase(buffer.name) == 1,
                "[get_order_sensitive_buffers] {} declares \"{}\", which a batch does not have or "
                "which it declares twice; a batch has tokens, labels and positions",
                name, buffer.name);
    COEUS_CHECK(
        buffer.shape == std::vector<int64_t>({batch_size, seq_len}) && buffer.sequence_dim == 1,
        "[get_order_sensitive_buffers] {} declares \"{}\" as [{}] with the sequence in "
        "dimension {}; rows of this run make it [{}, {}] with the sequence in dimension 1",
        name, buffer.name, fmt::join(buffer.shape, ", "), buffer.sequence_dim, batch_size, seq_len);
  }
  COEUS_CHECK(missing.empty(),
              "[get_order_sensitive_buffers] {} does not declare {}, which would stay behind when "
              "its tokens move",
              name, fmt::join(missing, ", "));
}

void Model::move_buffers(const at::Device& device) {
  for (const auto& item : named_buffers()) item.value().set_data(item.value().to(device));
}

void Model::begin_step(int64_t rows) {
  for (auto& [name, layer] : nn::moe_layers_of(*this)) {
    layer->reset_usage();
    layer->set_step_rows(rows);
  }
}

void Model::before_optimizer_step(const nn::SumOverRanks& sum_over_ranks,
                                  const at::Tensor& updates) {
  nn::update_expert_bias(nn::moe_layers_of(*this), sum_over_ranks, updates);
}

std::vector<std::pair<std::string, at::Tensor>> named_parameters_of(const Model& model) {
  std::vector<std::pair<std::string, at::Tensor>> named;
  for (const auto& item : model.named_parameters()) named.emplace_back(item.key(), item.value());
  return named;
}

std::vector<std::pair<std::string, at::Tensor>> checkpoint_tensors_of(const Model& model) {
  auto named = named_parameters_of(model);
  for (const auto& item : model.named_buffers()) named.emplace_back(item.key(), item.value());
  return named;
}

at::Device device_of(const Model& model) {
  const std::vector<at::Tensor> parameters = model.parameters();
  COEUS_ASSERT(!parameters.empty());
  return parameters[0].device();
}

int64_t parameter_count(const Model& model) {
  int64_t count = 0;
  for (const at::Tensor& parameter : model.parameters()) count += parameter.numel();
  return count;
}

int64_t active_parameter_count(const Model& model) {
  int64_t experts = 0, used = 0;
  for (const auto& [name, layer] : nn::moe_layers_of(model)) {
    int64_t of_layer = 0;
    for (const at::Tensor& parameter : layer->experts->parameters()) of_layer += parameter.numel();
    experts += of_layer;
    used += of_layer * layer->options().top_k / layer->options().num_experts;
  }
  return parameter_count(model) - experts + used;
}

}  // namespace coeus
