#include "coeus/ops/cross_entropy.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/variable.h>
#include <torch/types.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "coeus/base/error.h"
#include "coeus/ops/cpu_dispatch.h"
#include "coeus/ops/fused_operations.h"
#include "coeus/ops/parallel_for.h"

namespace coeus {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Rows summed as one, whatever the number of threads, so that the sum is the same on all machines.
constexpr int64_t kRowsAChunk = 32;

class CrossEntropySum : public torch::autograd::Function<CrossEntropySum> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& logits_in,
                            const at::Tensor& labels, bool in_place) {
    context->saved_data["in_place"] = in_place;
    const at::Tensor logits = logits_in.contiguous();
    if (FusedOperations* const fused = fused_operations(logits)) {
      const auto [sum, lse_of_rows] = fused->cross_entropy(logits, labels);
      context->save_for_backward({logits, labels, lse_of_rows});
      return sum;
    }
    const int64_t rows = logits.size(0);
    const int64_t vocab = logits.size(1);
    const int64_t chunks = (rows + kRowsAChunk - 1) / kRowsAChunk;
    at::Tensor lse = at::empty({rows}, logits.options().dtype(at::kFloat));
    std::vector<double> sums(chunks, 0.0);
    with_kernel_type(logits, [&]<class T>() {
      at::parallel_for(0, chunks, 1, [&](int64_t first, int64_t last) {
        for (int64_t chunk = first; chunk < last; ++chunk) {
          const int64_t begin = chunk * kRowsAChunk;
          const int64_t end = std::min(rows, begin + kRowsAChunk);
          sums[chunk] = cpu_kernels<T>().cross_entropy_forward(
              kernel_input<T>(logits) + begin * vocab, labels.const_data_ptr<int64_t>() + begin,
              lse.mutable_data_ptr<float>() + begin, end - begin, vocab);
        }
      });
    });
    context->save_for_backward({logits, labels, lse});
    return at::scalar_tensor(std::accumulate(sums.begin(), sums.end(), 0.0),
                             logits.options().dtype(at::kFloat));
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor& logits = saved[0];
    const at::Tensor& labels = saved[1];
    const at::Tensor& lse = saved[2];
    if (FusedOperations* const fused = fused_operations(logits)) {
      const bool in_place = context->saved_data["in_place"].toBool();
      at::Tensor grad_logits = in_place ? logits.detach() : at::empty_like(logits);
      fused->cross_entropy_backward(logits, labels, lse, grads[0].to(at::kFloat), grad_logits);
      if (in_place) torch::autograd::impl::bump_version(grad_logits);
      return {grad_logits, {}, {}};
    }
    const int64_t vocab = logits.size(1);
    const auto scale = grads[0].item<float>();
    at::Tensor grad_logits = at::empty_like(logits);
    with_kernel_type(logits, [&]<class T>() {
      at::parallel_for(0, logits.size(0), kRowsAChunk, [&](int64_t begin, int64_t end) {
        cpu_kernels<T>().cross_entropy_backward(
            kernel_input<T>(logits) + begin * vocab, labels.const_data_ptr<int64_t>() + begin,
            lse.const_data_ptr<float>() + begin, scale,
            kernel_output<T>(grad_logits) + begin * vocab, end - begin, vocab);
      });
    });
    return {grad_logits, {}, {}};
  }
};

void check_labels(const at::Tensor& labels, int64_t vocab) {
  const auto* first = labels.const_data_ptr<int64_t>();
  const auto* last = first + labels.numel();
  const auto bad = std::find_if(
      first, last, [&](int64_t l) { return l != kIgnoredLabel && (l < 0 || l >= vocab); });
  COEUS_CHECK_DATA(bad == last,
                   "[cross_entropy] label {} of token {} is outside the vocabulary of {}; use the "
                   "tokenizer that the model was made for",
                   *bad, bad - first, vocab);
}

at::Tensor checked_cross_entropy_sum(const at::Tensor& logits, const at::Tensor& labels,
                                     bool in_place) {
  COEUS_CHECK(logits.dim() >= 1 && logits.sizes().slice(0, logits.dim() - 1) == labels.sizes() &&
                  labels.scalar_type() == at::kLong,
              "[cross_entropy] logits [..., vocab] want int64 labels [...], got {} and {} {}",
              logits.sizes(), c10::toString(labels.scalar_type()), labels.sizes());
  if (!has_cpu_kernel(logits) && fused_operations(logits) == nullptr)
    return cross_entropy_sum_reference(logits, labels);
  const at::Tensor flat_labels = labels.reshape(-1).contiguous();
  // A device finds out by itself, and gives NaN, rather than be waited for.
  if (flat_labels.device().is_cpu()) check_labels(flat_labels, logits.size(-1));
  return CrossEntropySum::apply(logits.reshape({-1, logits.size(-1)}), flat_labels, in_place);
}

}  // namespace

at::Tensor cross_entropy_sum_reference(const at::Tensor& logits, const at::Tensor& labels) {
  const auto dtype = logits.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  return at::cross_entropy_loss(logits.reshape({-1, logits.size(-1)}).to(dtype), labels.reshape(-1),
                                {}, at::Reduction::Sum, kIgnoredLabel);
}

at::Tensor cross_entropy_sum(const at::Tensor& logits, const at::Tensor& labels) {
  return checked_cross_entropy_sum(logits, labels, /*in_place=*/false);
}

at::Tensor cross_entropy_sum_in_place(const at::Tensor& logits, const at::Tensor& labels) {
  return checked_cross_entropy_sum(logits, labels, /*in_place=*/true);
}

}  // namespace coeus
