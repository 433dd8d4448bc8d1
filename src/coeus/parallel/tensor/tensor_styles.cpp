#include "coeus/parallel/tensor/tensor_styles.h"

#include <torch/types.h>

#include "coeus/nn/embedding.h"
#include "coeus/nn/linear.h"
#include "coeus/nn/moe/moe.h"

namespace coeus::tensor {

namespace {

using CurrentShares = TensorParallel::CurrentShares;

nn::Layer::Hook gathering(const CurrentShares& shares) {
  return [shares](const at::Tensor& x) { return coeus::gather_sequence(x, shares()); };
}

nn::Layer::Hook scattering(const CurrentShares& shares) {
  return [shares](const at::Tensor& x) { return coeus::reduce_scatter_sequence(x, shares()); };
}

void split_outputs(TensorParallel& tensor, const std::string& linear, const EvenShare& share) {
  tensor.narrow(linear + ".weight", 0, share);
  if (tensor.has_parameter(linear + ".bias")) tensor.narrow(linear + ".bias", 0, share);
}

/// Which of an embedding's tokens are not this rank's, between its two hooks.
struct Elsewhere {
  at::Tensor tokens;
};

}  // namespace

TensorStyle replicated() {
  return [](TensorParallel& tensor, const std::string& name) {
    for (const auto& item :
         tensor.module<torch::nn::Module>(name).named_parameters(/*recurse=*/false))
      tensor.sum_gradient(name + "." + item.key(), tensor.groups().tensor);
  };
}

TensorStyle gather_sequence() {
  return [](TensorParallel& tensor, const std::string& name) {
    tensor.module<nn::Layer>(name).add_input_hook(gathering(tensor.shares_of(name)));
  };
}

TensorStyle columns() {
  return [](TensorParallel& tensor, const std::string& name) {
    tensor.split(name + ".weight", 0);
    if (tensor.has_parameter(name + ".bias")) tensor.split(name + ".bias", 0);
  };
}

TensorStyle heads(int64_t heads) {
  return [heads](TensorParallel& tensor, const std::string& name) {
    COEUS_CHECK_CONFIG(heads % tensor.ranks() == 0,
                       "parallelism.tensor_parallel_degree = {}: must divide the {} heads of {}",
                       tensor.ranks(), heads, name);
    columns()(tensor, name);
  };
}

TensorStyle key_value_heads(int64_t heads, int64_t query_heads) {
  return [heads, query_heads](TensorParallel& tensor, const std::string& name) {
    const int64_t ranks = tensor.ranks();
    COEUS_CHECK_CONFIG(
        query_heads % ranks == 0 && (heads % ranks == 0 || ranks % heads == 0),
        "parallelism.tensor_parallel_degree = {}: must divide the {} query heads of {}, and divide "
        "its {} key heads or be a multiple of them",
        ranks, query_heads, name, heads);
    if (heads >= ranks) return columns()(tensor, name);
    const int64_t copies = ranks / heads;
    const int64_t width = tensor.whole_sizes(name + ".weight")[0] / heads;
    split_outputs(tensor, name, {tensor.rank() / copies * width, width});
    const ParallelGroups::Group sharers = tensor.neighbours(copies, name);
    tensor.sum_gradient(name + ".weight", sharers);
    if (tensor.has_parameter(name + ".bias")) tensor.sum_gradient(name + ".bias", sharers);
  };
}

TensorStyle rows() {
  return [](TensorParallel& tensor, const std::string& name) {
    COEUS_CHECK(!tensor.has_parameter(name + ".bias"),
                "[tensor::rows] {} has a bias, which each rank would add", name);
    tensor.split(name + ".weight", 1);
  };
}

TensorStyle rows_to_sequence() {
  return [](TensorParallel& tensor, const std::string& name) {
    rows()(tensor, name);
    tensor.module<nn::Layer>(name).add_output_hook(scattering(tensor.shares_of(name)));
  };
}

TensorStyle vocabulary_embedding() {
  return [](TensorParallel& tensor, const std::string& name) {
    const EvenShare own =
        even_share(tensor.whole_sizes(name + ".weight")[0], tensor.ranks(), tensor.rank());
    tensor.split(name + ".weight", 0);
    auto& embedding = tensor.module<nn::EmbeddingImpl>(name);
    const auto elsewhere = std::make_shared<Elsewhere>();
    embedding.add_input_hook([own, elsewhere](const at::Tensor& tokens) {
      const at::Tensor here = tokens - own.begin;
      elsewhere->tokens = (here < 0).logical_or(here >= own.size);
      return here.masked_fill(elsewhere->tokens, 0);
    });
    embedding.add_output_hook([elsewhere](const at::Tensor& vectors) {
      return vectors.masked_fill(std::exchange(elsewhere->tokens, {}).unsqueeze(-1), 0);
    });
    embedding.add_output_hook(scattering(tensor.shares_of(name)));
  };
}

TensorStyle vocabulary_output(int64_t vocab_size) {
  return [vocab_size](TensorParallel& tensor, const std::string& name) {
    auto& output = tensor.module<nn::Layer>(name);
    if (tensor.has_parameter(name + ".weight")) columns()(tensor, name);
    output.add_input_hook(gathering(tensor.shares_of(name)));
    if (tensor.is_loss_parallel()) return;
    output.add_output_hook([group = tensor.groups().tensor, name,
                            widths = even_shares(vocab_size, tensor.ranks())](const at::Tensor& x) {
      return gather_last_dimension(x, widths, group, name);
    });
  };
}

TensorStyle sequence_share() {
  return [](TensorParallel& tensor, const std::string& name) {
    tensor.module<nn::Layer>(name).add_input_hook(
        [shares = tensor.shares_of(name)](const at::Tensor& x) {
          return take_sequence_share(x, shares());
        });
  };
}

namespace {

void split_experts(TensorParallel& tensor, const std::string& name) {
  auto& moe = tensor.module<nn::MoEImpl>(name);
  tensor.split(name + ".experts.w1", 1);
  tensor.split(name + ".experts.w3", 1);
  tensor.split(name + ".experts.w2", 2);
  if (moe.shared_experts)
    tensor.apply(name + ".shared_experts", {{"w1", columns()}, {"w3", columns()}, {"w2", rows()}});
  moe.add_input_hook(gathering(tensor.shares_of(name)));
  moe.add_output_hook(scattering(tensor.shares_of(name)));
}

/// The layer's forward sees tokens as one list; its input says how many rows they are of.
struct Batch {
  int64_t rows = 0;
};

void spread_experts(TensorParallel& tensor, const std::string& name) {
  auto& moe = tensor.module<nn::MoEImpl>(name);
  for (const char* weight : {".experts.w1", ".experts.w2", ".experts.w3"})
    tensor.leave(name + weight);
  if (!moe.shared_experts) return;
  const std::string shared = name + ".shared_experts";
  tensor.apply(shared, {{"w1", columns()}, {"w3", columns()}, {"w2", rows()}});
  const auto batch = std::make_shared<Batch>();
  moe.add_input_hook([batch](const at::Tensor& x) {
    batch->rows = x.size(0);
    return x;
  });
  const auto by_row = [batch](const nn::Layer::Hook& hook) {
    return [batch, hook](const at::Tensor& x) {
      const int64_t length = x.size(0) / batch->rows;
      return hook(x.view({batch->rows, length, x.size(1)})).flatten(0, 1);
    };
  };
  moe.shared_experts->add_input_hook(by_row(gathering(tensor.shares_of(shared))));
  moe.shared_experts->add_output_hook(by_row(scattering(tensor.shares_of(shared))));
}

}  // namespace

TensorStyle experts() {
  return [](TensorParallel& tensor, const std::string& name) {
    replicated()(tensor, name + ".router.gate");
    if (tensor.groups().mesh.splits_experts())
      split_experts(tensor, name);
    else
      spread_experts(tensor, name);
  };
}

}  // namespace coeus::tensor
