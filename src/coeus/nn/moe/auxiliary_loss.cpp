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
                                 int64_t rows) {
  const at::Tensor share = affinity / (affinity.sum(-1, /*keepdim=*/true) + 1e-20);
  const at::Tensor mean_share = share.unflatten(0, {rows, -1}).mean(1);
  const at::Tensor of_row = experts.view({rows, -1});
  const at::Tensor counts =
      at::zeros_like(mean_share)
          .scatter_add(1, of_row, at::ones_like(of_row, affinity.scalar_type()));
  const at::Tensor load =
      counts * static_cast<double>(affinity.size(1)) / static_cast<double>(of_row.size(1));
  return (load * mean_share).sum(1).mean();
}

at::Tensor router_z_loss(const at::Tensor& logits) { return logits.logsumexp(1).square().mean(); }

}  // namespace coeus::nn
