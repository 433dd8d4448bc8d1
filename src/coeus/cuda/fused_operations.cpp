// Fused operations on CUDA tensors: memory and streams for the kernels of kernels/cuda/.
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/types.h>

#include <algorithm>
#include <tuple>

#include "coeus/base/error.h"
#include "coeus/cuda/element_type.h"
#include "coeus/cuda/library.h"
#include "coeus/kernels/cuda/adam.h"
#include "coeus/kernels/cuda/cross_entropy.h"
#include "coeus/kernels/cuda/draw.h"
#include "coeus/kernels/cuda/rms_norm.h"
#include "coeus/kernels/cuda/rope.h"
#include "coeus/kernels/cuda/swiglu.h"

namespace coeus {

namespace {

cudaStream_t current_stream() { return c10::cuda::getCurrentCUDAStream().stream(); }

at::Tensor new_floats(at::IntArrayRef sizes, const at::Tensor& beside) {
  return at::empty(sizes, beside.options().dtype(at::kFloat));
}

class CudaFusedOperations final : public FusedOperations {
 public:
  bool takes(at::ScalarType dtype) const override {
    return dtype == at::kFloat || dtype == at::kBFloat16 || dtype == at::kHalf;
  }

  std::pair<at::Tensor, at::Tensor> rms_norm(const at::Tensor& x, const at::Tensor& weight,
                                             double eps, at::ScalarType out_dtype) override {
    const auto [sum, normed, inverse_rms] = add_rms_norm(x, {}, weight, eps, out_dtype);
    return {normed, inverse_rms};
  }

  /// With y undefined, of x alone, and there is no sum.
  std::tuple<at::Tensor, at::Tensor, at::Tensor> add_rms_norm(const at::Tensor& x,
                                                              const at::Tensor& y,
                                                              const at::Tensor& weight, double eps,
                                                              at::ScalarType out_dtype) override {
    const c10::cuda::CUDAGuard guard(x.device());
    const int64_t dim = x.size(-1);
    const at::Tensor out = at::empty_like(x, x.options().dtype(out_dtype));
    const at::Tensor inverse_rms = new_floats({x.numel() / dim}, x);
    cuda::RmsNormForward work;
    work.type = element_type(x);
    work.out_type = element_type(out);
    work.weight_type = element_type(weight);
    work.x = x.const_data_ptr();
    work.weight = weight.const_data_ptr();
    work.out = out.mutable_data_ptr();
    work.inverse_rms = inverse_rms.mutable_data_ptr<float>();
    work.rows = inverse_rms.numel();
    work.dim = static_cast<int>(dim);
    work.eps = static_cast<float>(eps);
    at::Tensor sum;
    if (y.defined()) {
      sum = at::empty_like(x);
      work.residual_type = element_type(y);
      work.residual = y.const_data_ptr();
      work.sum = sum.mutable_data_ptr();
    }
    cuda::rms_norm_forward(work, current_stream());
    return {sum, out, inverse_rms};
  }

  std::pair<at::Tensor, at::Tensor> rms_norm_backward(const at::Tensor& grad, const at::Tensor& x,
                                                      const at::Tensor& weight,
                                                      const at::Tensor& inverse_rms) override {
    const auto [grad_x, grad_y, grad_weight] =
        add_rms_norm_backward({}, grad, x, weight, inverse_rms, x.scalar_type());
    return {grad_x, grad_weight};
  }

  /// With grad_sum undefined, of the norm alone, and y has the sum's dtype.
  std::tuple<at::Tensor, at::Tensor, at::Tensor> add_rms_norm_backward(
      const at::Tensor& grad_sum, const at::Tensor& grad_normed, const at::Tensor& sum,
      const at::Tensor& weight, const at::Tensor& inverse_rms, at::ScalarType y_dtype) override {
    const c10::cuda::CUDAGuard guard(sum.device());
    const int64_t dim = sum.size(-1);
    const at::Tensor grad_x = at::empty_like(sum);
    const at::Tensor grad_weight = new_floats({dim}, sum);
    cuda::RmsNormBackward work;
    work.type = element_type(sum);
    work.out_type = element_type(grad_normed);
    work.weight_type = element_type(weight);
    work.grad_out = grad_normed.const_data_ptr();
    work.x = sum.const_data_ptr();
    work.weight = weight.const_data_ptr();
    work.inverse_rms = inverse_rms.const_data_ptr<float>();
    work.grad_x = grad_x.mutable_data_ptr();
    work.grad_weight = grad_weight.mutable_data_ptr<float>();
    work.rows = inverse_rms.numel();
    work.dim = static_cast<int>(dim);
    const at::Tensor scratch =
        at::empty({cuda::rms_norm_backward_scratch_bytes(work.type, work.rows, work.dim)},
                  sum.options().dtype(at::kByte));
    work.scratch = scratch.mutable_data_ptr();
    if (grad_sum.defined()) work.grad_sum = grad_sum.const_data_ptr();
    at::Tensor grad_y = grad_x;
    if (y_dtype != sum.scalar_type()) {
      COEUS_ASSERT(y_dtype == grad_normed.scalar_type());
      grad_y = at::empty_like(grad_normed);
      work.grad_residual = grad_y.mutable_data_ptr();
    }
    cuda::rms_norm_backward(work, current_stream());
    return {grad_x, grad_y, grad_weight};
  }

  at::Tensor rope(const at::Tensor& x, const at::Tensor& table, const at::Tensor& positions,
                  RopePairs pairs, float sign) override {
    const c10::cuda::CUDAGuard guard(x.device());
    const at::Tensor out = at::empty(x.sizes(), x.options());
    // Tokens of all rows follow one another.
    const bool as_it_lies = x.stride(3) == 1 && x.stride(0) == x.size(1) * x.stride(1);
    const at::Tensor from = as_it_lies ? x : x.contiguous();
    cuda::Rope work;
    work.type = element_type(x);
    work.halves = pairs == RopePairs::kHalves;
    work.sign = sign;
    work.head_dim = static_cast<int>(x.size(3));
    work.tokens = x.size(0) * x.size(1);
    work.table = table.const_data_ptr<float>();
    work.table_positions = static_cast<int>(table.size(0));
    work.positions = positions.const_data_ptr<int32_t>();
    work.tensors[0] = {from.const_data_ptr(),      from.stride(1), from.stride(2),
                       out.mutable_data_ptr(),     out.stride(1),  out.stride(2),
                       static_cast<int>(x.size(2))};
    cuda::rope(work, current_stream());
    return out;
  }

  at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) override {
    const c10::cuda::CUDAGuard guard(gate.device());
    const at::Tensor out = at::empty_like(gate);
    cuda::swiglu_forward({element_type(gate), gate.const_data_ptr(), up.const_data_ptr(),
                          out.mutable_data_ptr(), gate.numel()},
                         current_stream());
    return out;
  }

  std::pair<at::Tensor, at::Tensor> swiglu_backward(const at::Tensor& grad, const at::Tensor& gate,
                                                    const at::Tensor& up) override {
    const c10::cuda::CUDAGuard guard(gate.device());
    const at::Tensor grad_gate = at::empty_like(gate);
    const at::Tensor grad_up = at::empty_like(up);
    cuda::swiglu_backward(
        {element_type(gate), grad.const_data_ptr(), gate.const_data_ptr(), up.const_data_ptr(),
         grad_gate.mutable_data_ptr(), grad_up.mutable_data_ptr(), gate.numel()},
        current_stream());
    return {grad_gate, grad_up};
  }

  std::pair<at::Tensor, at::Tensor> cross_entropy(const at::Tensor& logits,
                                                  const at::Tensor& labels) override {
    const c10::cuda::CUDAGuard guard(logits.device());
    const at::Tensor lse = new_floats({logits.size(0)}, logits);
    const at::Tensor losses = new_floats({logits.size(0)}, logits);
    const at::Tensor sum = new_floats({}, logits);
    cuda::CrossEntropyForward work;
    work.rows = rows_of(logits, labels);
    work.lse = lse.mutable_data_ptr<float>();
    work.losses = losses.mutable_data_ptr<float>();
    cuda::cross_entropy_forward(work, current_stream());
    cuda::cross_entropy_sum(work.losses, logits.size(0), sum.mutable_data_ptr<float>(),
                            current_stream());
    return {sum, lse};
  }

  void cross_entropy_backward(const at::Tensor& logits, const at::Tensor& labels,
                              const at::Tensor& lse, const at::Tensor& scale,
                              at::Tensor& grad_logits) override {
    const c10::cuda::CUDAGuard guard(logits.device());
    cuda::cross_entropy_backward({rows_of(logits, labels), lse.const_data_ptr<float>(),
                                  scale.const_data_ptr<float>(), grad_logits.mutable_data_ptr()},
                                 current_stream());
  }

  void adam(const AdamUpdate& update) override {
    if (update.parameters.empty()) return;
    const c10::cuda::CUDAGuard guard(update.parameters[0].device());
    std::vector<cuda::AdamTensor> tensors;
    std::vector<at::Tensor> gradients;  // that live until the work is queued
    for (size_t i = 0; i < update.parameters.size(); ++i) {
      const at::Tensor& parameter = update.parameters[i];
      gradients.push_back(update.gradients[i].contiguous());
      tensors.push_back({parameter.mutable_data_ptr(), gradients.back().const_data_ptr(),
                         update.exp_avgs[i].mutable_data_ptr(),
                         update.exp_avg_sqs[i].mutable_data_ptr(), parameter.numel()});
    }
    const auto scalar = [](const at::Tensor& x) {
      return x.defined() ? x.const_data_ptr<float>() : nullptr;
    };
    cuda::adam({.type = element_type(update.parameters[0]),
                .decoupled = update.decoupled,
                .lr = update.lr,
                .beta1 = update.beta1,
                .beta2 = update.beta2,
                .weight_decay = update.weight_decay,
                .eps = update.eps,
                .step = scalar(update.step),
                .gradient_scale = scalar(update.gradient_scale),
                .skip = scalar(update.skip)},
               tensors, current_stream());
  }

  at::Tensor squared_norms(const std::vector<at::Tensor>& tensors) override {
    COEUS_ASSERT(!tensors.empty());
    const c10::cuda::CUDAGuard guard(tensors[0].device());
    std::vector<cuda::SquaredTensor> squared;
    std::vector<at::Tensor> contiguous;
    for (const at::Tensor& tensor : tensors) {
      contiguous.push_back(tensor.contiguous());
      squared.push_back({contiguous.back().const_data_ptr(), tensor.numel()});
    }
    const auto doubles = tensors[0].options().dtype(at::kDouble).requires_grad(false);
    const at::Tensor partial = at::empty({cuda::squared_norm_pieces(squared)}, doubles);
    const at::Tensor sums = at::empty({static_cast<int64_t>(tensors.size())}, doubles);
    cuda::squared_norms(element_type(tensors[0]), squared, partial.mutable_data_ptr<double>(),
                        sums.mutable_data_ptr<double>(), current_stream());
    return sums;
  }

  void draw(const at::Tensor& into, const RandomDraw& draw) override {
    const c10::cuda::CUDAGuard guard(into.device());
    cuda::Draw work;
    work.type = element_type(into);
    work.distribution = distribution_of(draw);
    work.values = into.mutable_data_ptr();
    work.n = into.numel();
    work.state = draw.state;
    work.scale = draw.scale;
    work.cut = draw.cut;
    work.low = draw.low;
    COEUS_CHECK(draw.whole.size() <= cuda::Draw::kMaxDims,
                "[init] a parameter of {} dimensions is drawn on no GPU; up to {} are",
                draw.whole.size(), cuda::Draw::kMaxDims);
    work.dims = static_cast<int>(draw.whole.size());
    std::copy(draw.begin.begin(), draw.begin.end(), work.begin);
    std::copy(draw.size.begin(), draw.size.end(), work.size);
    std::copy(draw.whole.begin(), draw.whole.end(), work.whole);
    cuda::draw(work, current_stream());
  }

 private:
  static cuda::Distribution distribution_of(const RandomDraw& draw) {
    switch (draw.distribution) {
      case RandomDraw::Distribution::kTruncatedNormal:
        return cuda::Distribution::kTruncatedNormal;
      case RandomDraw::Distribution::kUniform:
        return cuda::Distribution::kUniform;
      default:
        return cuda::Distribution::kNormal;
    }
  }
  static cuda::CrossEntropyRows rows_of(const at::Tensor& logits, const at::Tensor& labels) {
    return {element_type(logits), logits.const_data_ptr(), labels.const_data_ptr<int64_t>(),
            logits.size(0), static_cast<int>(logits.size(1))};
  }
};

}  // namespace

FusedOperations& cuda_fused_operations() {
  static CudaFusedOperations operations;
  return operations;
}

}  // namespace coeus
