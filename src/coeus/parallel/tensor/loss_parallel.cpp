#include "coeus/parallel/tensor/loss_parallel.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>

#include <limits>

#include "coeus/base/error.h"
#include "coeus/base/ignored_label.h"
#include "coeus/ops/cpu_dispatch.h"
#include "coeus/ops/parallel_for.h"

namespace coeus {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kRowsAChunk = 32;

at::ScalarType wide_type(const at::Tensor& logits) {
  return logits.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

/// Each row's log of the sum of exponentials of these columns.
at::Tensor log_sum_exp(const at::Tensor& logits, const at::Tensor& columns) {
  if (!has_cpu_kernel(logits)) return logits.to(wide_type(logits)).logsumexp(1);
  const int64_t width = logits.size(1);
  at::Tensor lse = at::empty({logits.size(0)}, logits.options().dtype(at::kFloat));
  with_kernel_type(logits, [&]<class T>() {
    at::parallel_for(0, logits.size(0), kRowsAChunk, [&](int64_t begin, int64_t end) {
      cpu_kernels<T>().cross_entropy_forward(
          kernel_input<T>(logits) + begin * width, columns.const_data_ptr<int64_t>() + begin,
          lse.mutable_data_ptr<float>() + begin, end - begin, width);
    });
  });
  return lse;
}

/// `scale`: the gradient of the sum, [].
at::Tensor gradient(const at::Tensor& logits, const at::Tensor& columns, const at::Tensor& lse,
                    const at::Tensor& scale) {
  const int64_t width = logits.size(1);
  if (!has_cpu_kernel(logits)) {
    const at::Tensor own = (columns >= 0).logical_and(columns < width).unsqueeze(1);
    at::Tensor grad = (logits.to(lse.scalar_type()) - lse.unsqueeze(1)).exp_();
    grad.scatter_add_(1, columns.clamp(0, width - 1).unsqueeze(1), -own.to(grad.scalar_type()));
    return (grad * (columns >= 0).unsqueeze(1) * scale).to(logits.scalar_type());
  }
  const auto scale_on_host = scale.item<float>();
  at::Tensor grad = at::empty_like(logits);
  with_kernel_type(logits, [&]<class T>() {
    at::parallel_for(0, logits.size(0), kRowsAChunk, [&](int64_t begin, int64_t end) {
      cpu_kernels<T>().cross_entropy_backward(
          kernel_input<T>(logits) + begin * width, columns.const_data_ptr<int64_t>() + begin,
          lse.const_data_ptr<float>() + begin, scale_on_host,
          kernel_output<T>(grad) + begin * width, end - begin, width);
    });
  });
  return grad;
}

class LossParallelCrossEntropySum : public torch::autograd::Function<LossParallelCrossEntropySum> {
 public:
  /// columns: the label's column, the width for one that another rank has, -1 for none.
  static at::Tensor forward(AutogradContext* context, const at::Tensor& logits_in,
                            const at::Tensor& columns, ProcessGroup* group) {
    const at::Tensor logits = logits_in.contiguous();
    const int64_t width = logits.size(1);
    const at::Tensor own = (columns >= 0).logical_and(columns < width);
    const at::Tensor of_label =
        logits.gather(1, columns.clamp(0, width - 1).unsqueeze(1)).squeeze(1);
    const at::Tensor seen = at::stack(
        {log_sum_exp(logits, columns), of_label.to(wide_type(logits)).masked_fill(~own, 0)});
    const at::Tensor all =
        group->all_gather(seen, "cross entropy").view({group->size(), 2, logits.size(0)});
    const at::Tensor lse = all.select(1, 0).logsumexp(0);
    context->save_for_backward({logits, columns, lse});
    const at::Tensor losses = lse.to(at::kDouble) - all.select(1, 1).sum(0).to(at::kDouble);
    return losses.masked_fill(columns < 0, 0).sum().to(wide_type(logits));
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const variable_list saved = context->get_saved_variables();
    return {gradient(saved[0], saved[1], saved[2], grads[0]), {}, {}};
  }
};

/// outside: bool [tokens], the labels outside the vocabulary.
void check_labels(const at::Tensor& labels, const at::Tensor& outside, int64_t vocab_size) {
  const at::Tensor bad = outside.nonzero();
  COEUS_CHECK_DATA(bad.size(0) == 0,
                   "[cross_entropy] label {} of token {} is outside the vocabulary of {}; use the "
                   "tokenizer that the model was made for",
                   labels[bad[0].item<int64_t>()].item<int64_t>(), bad[0].item<int64_t>(),
                   vocab_size);
}

}  // namespace

at::Tensor loss_parallel_cross_entropy_sum(const at::Tensor& logits, const at::Tensor& labels_in,
                                           const EvenShare& own, int64_t vocab_size,
                                           const std::shared_ptr<ProcessGroup>& group) {
  COEUS_CHECK(logits.dim() >= 1 && logits.size(-1) == own.size && own.size > 0 &&
                  logits.sizes().slice(0, logits.dim() - 1) == labels_in.sizes() &&
                  labels_in.scalar_type() == at::kLong,
              "[cross_entropy] logits [..., {} of {}] want int64 labels [...], got {} and {} {}",
              own.size, vocab_size, logits.sizes(), c10::toString(labels_in.scalar_type()),
              labels_in.sizes());
  const at::Tensor labels = labels_in.reshape(-1);
  const at::Tensor ignored = labels == kIgnoredLabel;
  const at::Tensor outside = (labels < 0).logical_or(labels >= vocab_size).logical_and(~ignored);
  const bool on_host = labels.device().is_cpu();
  if (on_host) check_labels(labels, outside, vocab_size);
  const at::Tensor here = labels - own.begin;
  const at::Tensor elsewhere = (here < 0).logical_or(here >= own.size);
  const at::Tensor columns =
      here.masked_fill(elsewhere, own.size).masked_fill(ignored, -1).contiguous();
  const at::Tensor sum =
      LossParallelCrossEntropySum::apply(logits.reshape({-1, own.size}), columns, group.get());
  // A device finds out by itself, and gives NaN, rather than be waited for.
  return on_host ? sum : sum.masked_fill(outside.any(), std::numeric_limits<double>::quiet_NaN());
}

}  // namespace coeus
