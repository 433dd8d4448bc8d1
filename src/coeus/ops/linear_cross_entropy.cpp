#include "coeus/ops/linear_cross_entropy.h"

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>

#include <algorithm>
#include <utility>

#include "coeus/base/error.h"
#include "coeus/ops/linear.h"

namespace coeus {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// In the dtype of products and without a history.
struct Factors {
  at::Tensor hidden;  ///< [rows, dim]
  at::Tensor weight;  ///< [vocab, dim]
};

/// Sums over all rows; undefined gradients where none were wanted.
struct Sums {
  at::Tensor loss;
  at::Tensor grad_hidden;
  at::Tensor grad_weight;
};

/// The loss of logits and their gradient. The logits are let go.
std::pair<at::Tensor, at::Tensor> loss_and_gradient(at::Tensor logits, const at::Tensor& labels,
                                                    const CrossEntropy& cross_entropy) {
  const at::AutoGradMode with_history(true);
  logits.requires_grad_();
  const at::Tensor loss = cross_entropy(logits, labels);
  return {loss.detach(), torch::autograd::grad({loss}, {logits}).front()};
}

/// sum += a^T b for a [rows, m], b [rows, n] and a sum [m, n], which may be wider.
void add_product(at::Tensor& sum, const at::Tensor& a, const at::Tensor& b) {
  // LibTorch adds a narrower product up in place only there.
  if (sum.is_cuda())
    at::addmm_out(sum, sum, a.t(), b, sum.scalar_type());
  else
    sum.add_(product_with_transpose(a.t(), b.t()));
}

Sums by_chunks(const Factors& factors, const at::Tensor& labels, int64_t chunk_size,
               const CrossEntropy& cross_entropy, bool wants_hidden, bool wants_weight) {
  const at::NoGradGuard no_grad;
  const auto& [hidden, weight] = factors;
  const int64_t rows = hidden.size(0);
  const at::TensorOptions wide =
      hidden.options().dtype(hidden.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
  at::Tensor loss = at::zeros({}, wide.dtype(at::kDouble));
  Sums sums;
  if (wants_hidden) sums.grad_hidden = at::empty(hidden.sizes(), wide);
  if (wants_weight) sums.grad_weight = at::zeros(weight.sizes(), wide);
  for (int64_t begin = 0; begin < rows; begin += chunk_size) {
    const int64_t size = std::min(chunk_size, rows - begin);
    const at::Tensor of_chunk = hidden.narrow(0, begin, size);
    const at::Tensor its_labels = labels.narrow(0, begin, size);
    if (!wants_hidden && !wants_weight) {
      loss.add_(cross_entropy(product_with_transpose(of_chunk, weight), its_labels));
      continue;
    }
    const auto [its_loss, grad] =
        loss_and_gradient(product_with_transpose(of_chunk, weight), its_labels, cross_entropy);
    loss.add_(its_loss);
    if (wants_hidden)
      sums.grad_hidden.narrow(0, begin, size).copy_(product_with_transpose(grad, weight.t()));
    if (wants_weight) add_product(sums.grad_weight, grad, of_chunk);
  }
  sums.loss = loss.to(wide.dtype());
  return sums;
}

class LinearCrossEntropySum : public torch::autograd::Function<LinearCrossEntropySum> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& hidden,
                            const at::Tensor& weight, const Factors& factors,
                            const at::Tensor& labels, int64_t chunk_size,
                            const CrossEntropy& cross_entropy) {
    const Sums sums = by_chunks(factors, labels, chunk_size, cross_entropy, hidden.requires_grad(),
                                weight.requires_grad());
    context->save_for_backward({sums.grad_hidden, sums.grad_weight});
    return sums.loss;
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    variable_list saved = context->get_saved_variables();
    // In place, for the weight's is large. Autograd sees it and refuses a second backward pass.
    for (at::Tensor& gradient : saved)
      if (gradient.defined()) gradient.mul_(grads[0]);
    return {saved[0], saved[1], {}, {}, {}, {}};
  }
};

}  // namespace

at::Tensor linear_cross_entropy_sum_reference(const at::Tensor& hidden, const at::Tensor& weight,
                                              const at::Tensor& labels) {
  return cross_entropy_sum_reference(linear_reference(hidden, weight), labels);
}

at::Tensor linear_cross_entropy_sum(const at::Tensor& hidden, const at::Tensor& weight,
                                    const at::Tensor& labels, int64_t chunk_size,
                                    const CrossEntropy& cross_entropy) {
  COEUS_CHECK(weight.dim() == 2 && hidden.dim() >= 1 && hidden.size(-1) == weight.size(1) &&
                  hidden.sizes().slice(0, hidden.dim() - 1) == labels.sizes(),
              "[linear_cross_entropy] hidden states [..., dim] want a weight [vocab, dim] and "
              "labels [...], got {}, {} and {}",
              hidden.sizes(), weight.sizes(), labels.sizes());
  COEUS_CHECK(chunk_size >= 1, "[linear_cross_entropy] chunk_size must be at least 1, got {}",
              chunk_size);
  const at::Tensor rows = hidden.reshape({-1, hidden.size(-1)}).contiguous();
  const at::Tensor flat_labels = labels.reshape(-1);
  Factors factors = {rows, weight};
  cast_for_autocast(factors.hidden, factors.weight);
  factors = {factors.hidden.detach(), factors.weight.detach()};
  if (!at::GradMode::is_enabled() || !(rows.requires_grad() || weight.requires_grad()))
    return by_chunks(factors, flat_labels, chunk_size, cross_entropy, false, false).loss;
  return LinearCrossEntropySum::apply(rows, weight, factors, flat_labels, chunk_size,
                                      cross_entropy);
}

}  // namespace coeus
