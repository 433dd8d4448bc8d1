#include "coeus/parallel/tensor/tensor_parallel.h"

#include <torch/types.h>

#include "coeus/ops/cross_entropy.h"
#include "coeus/parallel/tensor/loss_parallel.h"

namespace coeus {

TensorParallel::TensorParallel(const ParallelGroups& groups, torch::nn::Module& model,
                               ShardedParameters& parameters, const Options& options)
    : groups_(groups), parameters_(parameters), options_(options) {
  for (const auto& item : model.named_modules("", /*include_self=*/false)) {
    modules_.emplace(item.key(), item.value());
    ordered_names_.push_back(item.key());
  }
}

void TensorParallel::apply(const std::string& prefix, const TensorPlan& plan) {
  if (ranks() == 1) return;
  for (const auto& [module, style] : plan) {
    const std::string name = prefix.empty() ? module : prefix + "." + module;
    COEUS_CHECK(has(name), "[TensorParallel] the model has no module {}", name);
    style(*this, name);
  }
}

void TensorParallel::apply_to_present(const TensorPlan& plan) {
  for (const auto& entry : plan)
    if (has(entry.first)) apply("", {entry});
}

void TensorParallel::check_complete() const {
  if (ranks() == 1) return;
  std::vector<std::string> left;
  for (const ShardedParameter& parameter : parameters_.all())
    if (!treated_.contains(parameter.name)) left.push_back(parameter.name);
  COEUS_CHECK(left.empty(), "[TensorParallel] the model's plan says nothing of {}",
              fmt::join(left, ", "));
}

TensorParallel::CrossEntropy TensorParallel::cross_entropy(int64_t vocab_size) const {
  if (ranks() == 1 || !options_.loss_parallel) return cross_entropy_sum_in_place;
  return [group = groups_.tensor, vocab_size](const at::Tensor& logits, const at::Tensor& labels) {
    const EvenShare own = even_share(vocab_size, group->size(), group->rank());
    return loss_parallel_cross_entropy_sum(logits, labels, own, vocab_size, group);
  };
}

void TensorParallel::narrow(const std::string& parameter, int64_t dim, const EvenShare& share) {
  parameters_.narrow(parameter, dim, share.begin, share.size);
  treated_.insert(parameter);
}

void TensorParallel::split(const std::string& parameter, int64_t dim) {
  const int64_t size = parameters_.at(parameter).slice.size[dim];
  COEUS_CHECK_CONFIG(size >= ranks(),
                     "parallelism.tensor_parallel_degree = {}: {} has {} along the dimension that "
                     "is split, which leaves ranks without any; take a lower degree",
                     ranks(), parameter, size);
  narrow(parameter, dim, even_share(size, ranks(), rank()));
}

void TensorParallel::sum_gradient(const std::string& parameter,
                                  const ParallelGroups::Group& group) {
  parameters_.sum_gradient_over(parameter, group);
  treated_.insert(parameter);
}

ParallelGroups::Group TensorParallel::neighbours(int64_t count, const std::string& module) {
  if (count == 1) return std::make_shared<ProcessGroup>();
  if (count == ranks()) return groups_.tensor;
  ParallelGroups::Group& group = neighbours_[count];
  if (!group) {
    const auto first = groups_.tensor->ranks().begin() + rank() / count * count;
    group = groups_.make_group("tp of " + module, {first, first + count},
                               ParallelGroups::Patience::kUsual);
  }
  return group;
}

TensorParallel::CurrentShares TensorParallel::shares_of(const std::string& module) const {
  return [pass = pass_, group = groups_.tensor, module] {
    return SequenceShares{group, pass->seq_len, module};
  };
}

}  // namespace coeus
