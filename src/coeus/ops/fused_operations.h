// Fused operations of devices besides the CPU: what their libraries bring along. Without them the
// operations' plain versions serve.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <tuple>
#include <utility>
#include <vector>

#include "coeus/ops/rope.h"

namespace coeus {

/// Draws of base/random.h for a tensor, or for a box of one. Element e of the whole is, of the
/// uniform draw u = CounterRandom::uniform(e) of the sequence with this state,
///   normal:           scale * normal_quantile(u)
///   truncated normal: scale * normal_quantile(low + (1 - 2 * low) * u), held within [-cut, cut]
///   uniform:          scale * (2 * u - 1)
struct RandomDraw {
  enum class Distribution { kNormal, kTruncatedNormal, kUniform };
  Distribution distribution = Distribution::kNormal;
  double scale = 1;
  double cut = 0;
  double low = 0;
  uint64_t state = 0;
  std::vector<int64_t> begin, size, whole;  ///< the box, as in TensorSlice; empty for all of it
};

/// One update of all parameters by Adam or AdamW, as optim/optimizer.h has it. The lists go in
/// step; all tensors of one dtype, each parameter's contiguous, and gradients may lie otherwise.
struct AdamUpdate {
  std::vector<at::Tensor> parameters, gradients, exp_avgs, exp_avg_sqs;
  bool decoupled = true;  ///< AdamW's decay, else Adam's
  double lr = 0, beta1 = 0, beta2 = 0, weight_decay = 0, eps = 0;
  at::Tensor step;            ///< float32 []: the number of updates, this one included
  at::Tensor gradient_scale;  ///< float32 []: what gradients are multiplied by; undefined: 1
  at::Tensor skip;            ///< float32 []: unless 0 nothing changes; undefined: 0
};

/// Arguments as in rms_norm.h, rope.h, swiglu.h and cross_entropy.h, checked and contiguous, in a
/// dtype that `takes`. All work is queued on the current stream.
class FusedOperations {
 public:
  virtual ~FusedOperations() = default;
  virtual bool takes(at::ScalarType dtype) const = 0;

  /// The normed x in out_dtype (x's, or narrower than float32) and each row's
  /// 1 / sqrt(mean(x^2) + eps) in float32; the weight in x's dtype.
  virtual std::pair<at::Tensor, at::Tensor> rms_norm(const at::Tensor& x, const at::Tensor& weight,
                                                     double eps, at::ScalarType out_dtype) = 0;
  /// The gradients of x and, in float32, of the weight.
  virtual std::pair<at::Tensor, at::Tensor> rms_norm_backward(const at::Tensor& grad,
                                                              const at::Tensor& x,
                                                              const at::Tensor& weight,
                                                              const at::Tensor& inverse_rms) = 0;
  /// The sum of x and y, in x's dtype, and as above the normed sum, in out_dtype, and each row's
  /// inverse. y has one of these two dtypes.
  virtual std::tuple<at::Tensor, at::Tensor, at::Tensor> add_rms_norm(const at::Tensor& x,
                                                                      const at::Tensor& y,
                                                                      const at::Tensor& weight,
                                                                      double eps,
                                                                      at::ScalarType out_dtype) = 0;
  /// The gradients of x, of y in its dtype and, in float32, of the weight.
  virtual std::tuple<at::Tensor, at::Tensor, at::Tensor> add_rms_norm_backward(
      const at::Tensor& grad_sum, const at::Tensor& grad_normed, const at::Tensor& sum,
      const at::Tensor& weight, const at::Tensor& inverse_rms, at::ScalarType y_dtype) = 0;

  /// `sign` -1 turns the other way. x need not be contiguous but for its last dimension.
  virtual at::Tensor rope(const at::Tensor& x, const at::Tensor& table, const at::Tensor& positions,
                          RopePairs pairs, float sign) = 0;

  virtual at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) = 0;
  /// The gradients of gate and up.
  virtual std::pair<at::Tensor, at::Tensor> swiglu_backward(const at::Tensor& grad,
                                                            const at::Tensor& gate,
                                                            const at::Tensor& up) = 0;

  /// logits [rows, vocab], labels [rows]. The sum of losses, in float32, and each row's log of the
  /// sum of exponentials. A label outside the vocabulary makes the sum NaN, for nothing waits.
  virtual std::pair<at::Tensor, at::Tensor> cross_entropy(const at::Tensor& logits,
                                                          const at::Tensor& labels) = 0;
  /// The gradient of logits into `grad_logits`, which may be logits; `scale`: that of the sum.
  virtual void cross_entropy_backward(const at::Tensor& logits, const at::Tensor& labels,
                                      const at::Tensor& lse, const at::Tensor& scale,
                                      at::Tensor& grad_logits) = 0;

  /// Fills a contiguous tensor.
  virtual void draw(const at::Tensor& into, const RandomDraw& draw) = 0;

  virtual void adam(const AdamUpdate& update) = 0;
  /// The sum of each tensor's squares, float64 [tensors], with the same bits in every run. All of
  /// one dtype.
  virtual at::Tensor squared_norms(const std::vector<at::Tensor>& tensors) = 0;
};

/// Makes `operations`, which live as long as the process, those of a kind of device.
void set_fused_operations(at::DeviceType device, FusedOperations* operations);
/// Those for a tensor; null on the CPU, where none are set and for a dtype that they do not take.
FusedOperations* fused_operations(const at::Tensor& x);

}  // namespace coeus
