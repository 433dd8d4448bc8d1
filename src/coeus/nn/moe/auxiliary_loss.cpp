#include "coeus/nn/moe/auxiliary_loss.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>

namespace coeus::nn {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

class WithAuxiliaryLoss : public torch::autograd::Function<WithAuxiliaryLoss> {
 public:
  static at::Tensor forward(AutogradContext*, const at::Tensor& x, const at::Tensor&) {
    return x.view_as(x);
  }
  static variable_list backward(AutogradContext*, const variable_list& grads) {
    return {grads[0], at::ones({}, grads[0].options().dtype(at::kFloat))};
  }
};

}  // namespace

at::Tensor with_auxiliary_loss(const at::Tensor& x, const at::Tensor& loss) {
  return WithAuxiliaryLoss::apply(x, loss);
}

at::Tensor sequence_balance_loss(const at::Tensor& affinity, const at::Tensor& experts,
                                 int64_t rows,
                                 const std::function<void(at::Tensor&)>& sum_over_shares) {
  const at::Tensor share = affinity / (affinity.sum(-1, /*keepdim=*/true) + 1e-20);
  const at::Tensor of_row = experts.view({rows, -1});
  at::Tensor counts = at::zeros({rows, affinity.size(1)}, affinity.options())
                          .scatter_add(1, of_row, at::ones_like(of_row, affinity.scalar_type()));
  if (sum_over_shares) sum_over_shares(counts);
  // Loads have no gradient: with those of whole rows, the loss is a sum over tokens.
  const at::Tensor choices = counts.sum(1, /*keepdim=*/true);
  const at::Tensor load = counts * static_cast<double>(affinity.size(1)) / choices;
  const at::Tensor tokens = choices / static_cast<double>(experts.size(1));
  const at::Tensor mean_share = share.unflatten(0, {rows, -1}).sum(1) / tokens;
  return (load * mean_share).sum(1).mean();
}

at::Tensor router_z_loss(const at::Tensor& logits,
                         const std::function<void(at::Tensor&)>& sum_over_shares) {
  at::Tensor tokens = at::full({}, logits.size(0), logits.options());
  if (sum_over_shares) sum_over_shares(tokens);
  return logits.logsumexp(1).square().sum() / tokens;
}

}  // namespace coeus::nn
