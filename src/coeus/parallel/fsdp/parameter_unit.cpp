#include "coeus/parallel/fsdp/parameter_unit.h"

#include <torch/types.h>

#include <functional>
#include <map>
#include <numeric>

#include "coeus/base/error.h"

namespace coeus {

namespace {

int64_t product(const std::vector<int64_t>& sizes, size_t begin, size_t end) {
  return std::accumulate(sizes.begin() + static_cast<int64_t>(begin),
                         sizes.begin() + static_cast<int64_t>(end), int64_t{1},
                         std::multiplies<>());
}

/// The tensors' values one after another, and back into them.
at::Tensor flattened(const std::vector<at::Tensor>& tensors) {
  std::vector<at::Tensor> flat;
  for (const at::Tensor& tensor : tensors) flat.push_back(tensor.reshape({-1}));
  return at::cat(flat);
}

void unflatten_into(const at::Tensor& flat, const std::vector<at::Tensor>& tensors) {
  int64_t offset = 0;
  for (const at::Tensor& tensor : tensors) {
    tensor.copy_(flat.narrow(0, offset, tensor.numel()).view(tensor.sizes()));
    offset += tensor.numel();
  }
}

}  // namespace

ParameterUnit::ParameterUnit(std::string name, ShardedParameters& parameters,
                             const std::vector<std::string>& names,
                             std::shared_ptr<ProcessGroup> shard,
                             std::shared_ptr<ProcessGroup> replicate,
                             const UnitPrecision& precision)
    : name_(std::move(name)),
      parameters_text_(name_ + " parameters"),
      gradients_text_(name_ + " gradients"),
      shard_(std::move(shard)),
      replicate_(std::move(replicate)),
      precision_(precision) {
  for (const std::string& parameter : names) add_part(parameters, parameter);
}

void ParameterUnit::add_part(ShardedParameters& parameters, const std::string& name) {
  ShardedParameter& parameter = parameters.at(name);
  Part part;
  part.tensor = parameter.tensor;
  part.whole = parameter.slice.size;
  part.partial_over = parameter.partial_over;
  parameter.copies *= replicate_->size();
  if (shards()) {
    const int64_t ranks = shard_->size();
    const bool is_short = part.whole[0] < ranks && part.whole.size() > 1 && part.whole[1] >= ranks;
    part.dim = is_short ? 1 : 0;
    const auto dim = static_cast<size_t>(part.dim);
    part.outer = product(part.whole, 0, dim);
    part.inner = product(part.whole, dim + 1, part.whole.size());
    part.chunk = chunk_of(part.whole[dim], ranks, 0).size;
    part.offset = flat_size_;
    flat_size_ += part.padded();
    const ChunkRange own = chunk_of(part.whole[dim], ranks, shard_->rank());
    parameters.narrow(name, part.dim, own.begin, own.size);
  }
  part.piece = parameter.slice.size;
  parts_.push_back(std::move(part));
}

at::Tensor ParameterUnit::view_of(const at::Tensor& flat, const Part& part) const {
  // Padding stands behind the piece, so that the piece itself has no gaps.
  int64_t numel = 1;
  for (const int64_t size : part.piece) numel *= size;
  return flat.narrow(0, part.offset, numel).view(part.piece);
}

void ParameterUnit::materialize(const at::Device& device) {
  const at::TensorOptions options =
      parts_.empty() ? at::TensorOptions() : parts_[0].tensor.options().device(device);
  if (shards()) {
    values_ = at::zeros({flat_size_}, options.requires_grad(false));
    grads_ = at::zeros({flat_size_}, options.requires_grad(false));
  }
  for (Part& part : parts_) {
    part.piece_values =
        shards() ? view_of(values_, part) : at::empty(part.piece, options.requires_grad(false));
    if (shards())
      part.piece_grad = view_of(grads_, part);
    else if (replicate_->size() > 1 || !part.partial_over.empty())
      part.piece_grad = at::zeros_like(part.piece_values);
    part.tensor.set_data(part.piece_values);
    part.tensor.mutable_grad() = part.piece_grad;
  }
}

void ParameterUnit::start_unshard() {
  if (!shards() || unsharded_ || gather_.is_started()) return;
  gather_ = shard_->all_gather_async(values_.to(precision_.param_dtype), parameters_text_.c_str());
}

void ParameterUnit::drop_prefetched() {
  if (!gather_.is_started()) return;
  gather_.wait();
  gather_ = {};
}

at::Tensor ParameterUnit::gathered(const at::Tensor& all, const Part& part) const {
  const int64_t ranks = shard_->size();
  const int64_t cut = part.whole[static_cast<size_t>(part.dim)];
  at::Tensor whole = at::empty(part.whole, all.options());
  const at::Tensor by_place = whole.view({part.outer, cut, part.inner});
  for (int64_t rank = 0; rank < ranks; ++rank) {
    const ChunkRange rows = chunk_of(cut, ranks, rank);
    if (rows.size == 0) continue;
    by_place.narrow(1, rows.begin, rows.size)
        .copy_(all[rank]
                   .narrow(0, part.offset, part.outer * rows.size * part.inner)
                   .view({part.outer, rows.size, part.inner}));
  }
  return whole;
}

void ParameterUnit::set_whole(const std::vector<at::Tensor>& values) {
  for (size_t i = 0; i < parts_.size(); ++i) {
    parts_[i].tensor.mutable_grad().reset();
    parts_[i].tensor.set_data(values[i]);
  }
  unsharded_ = true;
}

void ParameterUnit::unshard() {
  if (!shards() || unsharded_) return;
  start_unshard();
  const at::NoGradGuard no_grad;
  const at::Tensor all = gather_.wait().view({shard_->size(), flat_size_});
  gather_ = {};
  std::vector<at::Tensor> values;
  for (const Part& part : parts_) values.push_back(gathered(all, part));
  set_whole(values);
}

void ParameterUnit::unshard_sizes() {
  if (!shards() || unsharded_) return;
  // Never written, so the system gives it no memory.
  std::vector<at::Tensor> values;
  for (const Part& part : parts_)
    values.push_back(at::empty(part.whole, values_.options().dtype(precision_.param_dtype)));
  set_whole(values);
}

void ParameterUnit::keep_gradients() {
  if (!shards() || !unsharded_) return;
  const at::NoGradGuard no_grad;
  for (Part& part : parts_) {
    at::Tensor& grad = part.tensor.mutable_grad();
    if (!grad.defined()) continue;
    if (part.whole_grad.defined())
      part.whole_grad.add_(grad);
    else
      part.whole_grad = grad.to(precision_.reduce_dtype);
    grad.reset();
  }
}

void ParameterUnit::reshard() {
  if (!shards() || !unsharded_) return;
  keep_gradients();
  for (Part& part : parts_) {
    part.tensor.mutable_grad() = part.piece_grad;
    part.tensor.set_data(part.piece_values);
  }
  unsharded_ = false;
}

void ParameterUnit::put_whole_gradient(at::Tensor& flat, const Part& part) const {
  const int64_t ranks = shard_->size();
  const int64_t cut = part.whole[static_cast<size_t>(part.dim)];
  const at::Tensor by_place = part.whole_grad.reshape({part.outer, cut, part.inner});
  for (int64_t rank = 0; rank < ranks; ++rank) {
    const ChunkRange rows = chunk_of(cut, ranks, rank);
    if (rows.size == 0) continue;
    flat[rank]
        .narrow(0, part.offset, part.outer * rows.size * part.inner)
        .view({part.outer, rows.size, part.inner})
        .copy_(by_place.narrow(1, rows.begin, rows.size));
  }
}

void ParameterUnit::start_reduction() {
  if (!shards()) return;
  reshard();
  finish_reduction();
  const at::NoGradGuard no_grad;
  at::Tensor flat =
      at::zeros({shard_->size(), flat_size_}, values_.options().dtype(precision_.reduce_dtype));
  for (Part& part : parts_) {
    if (part.whole_grad.defined()) put_whole_gradient(flat, part);
    part.whole_grad.reset();
  }
  reduction_ = shard_->reduce_scatter_async(flat.view({-1}), gradients_text_.c_str());
}

void ParameterUnit::finish_reduction() {
  if (!reduction_.is_started()) return;
  const at::NoGradGuard no_grad;
  grads_.add_(reduction_.wait());
  reduction_ = {};
}

void ParameterUnit::start_replica_reduction() {
  finish_reduction();
  const at::NoGradGuard no_grad;
  std::map<std::shared_ptr<ProcessGroup>, std::vector<at::Tensor>> partial;
  for (const Part& part : parts_)
    for (const auto& group : part.partial_over) partial[group].push_back(part.piece_grad);
  // In the order of the parameters, which is that of all ranks; a map of pointers is not.
  for (const Part& part : parts_)
    for (const auto& group : part.partial_over) {
      const auto found = partial.find(group);
      if (found == partial.end()) continue;
      unflatten_into(group->all_reduce(flattened(found->second), gradients_text_.c_str()),
                     found->second);
      partial.erase(found);
    }
  if (replicate_->size() == 1 || parts_.empty()) return;
  replica_grads_.clear();
  if (shards())
    replica_grads_ = {grads_};
  else
    for (const Part& part : parts_) replica_grads_.push_back(part.piece_grad);
  replica_reduction_ = replicate_->all_reduce_async(
      flattened(replica_grads_).to(precision_.reduce_dtype), gradients_text_.c_str());
}

void ParameterUnit::finish_replica_reduction() {
  if (!replica_reduction_.is_started()) return;
  const at::NoGradGuard no_grad;
  unflatten_into(replica_reduction_.wait(), replica_grads_);
  replica_reduction_ = {};
  replica_grads_.clear();
}

}  // namespace coeus
