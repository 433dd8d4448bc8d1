#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "coeus/optim/optimizer_config.h"

namespace coeus {

/// Adam (Kingma and Ba, arXiv 1412.6980) and AdamW (Loshchilov and Hutter, arXiv 1711.05101) over
/// named parameters, as PyTorch computes them. One fused update serves every
/// `optimizer.implementation`.
class Optimizer {
 public:
  /// Keeps references to the parameters, whose gradients may be yet to come. Throws ConfigError for
  /// another name than Adam or AdamW.
  Optimizer(const OptimizerConfig& config,
            std::vector<std::pair<std::string, at::Tensor>> parameters);

  /// Says whether updates are still to be made: `finite`, bool [] where the parameters are, is to
  /// hold of the coming step. From the first of which it does not, all are left out: parameters,
  /// their state and the number of updates stay as they were, for the host to learn of it whenever
  /// it looks. Returns whether the coming one is made, bool []. Nothing waits for the device.
  const at::Tensor& admit(const at::Tensor& finite);
  /// Updates every parameter by its gradient at learning rate `lr`. All must have a gradient, but
  /// after release_grad() one without counts as zero. gradient_scale: float32 [], where the
  /// parameters are; what gradients are multiplied by first (clip_coefficient), undefined for 1.
  /// They may come out multiplied or not.
  void step(double lr, const at::Tensor& gradient_scale = {});
  /// Zeroes the gradients, keeping their memory, or makes them.
  void zero_grad();
  /// Gives their memory back, so that backward's own results become the gradients, unread and
  /// without a sum. Not for parameters whose gradients have a place of their own, as FSDP's.
  void release_grad();

  /// The state for checkpoints, in place: "exp_avg.NAME", "exp_avg_sq.NAME" in the parameter's
  /// shape and dtype, and "step", float32 [] and the same for all.
  std::vector<std::pair<std::string, at::Tensor>> state() const;

  const std::vector<std::pair<std::string, at::Tensor>>& parameters() const { return parameters_; }
  /// Bytes of the state.
  int64_t bytes() const;

 private:
  /// Whether the device's own update takes all parameters; `plain_step` is LibTorch's.
  bool is_fused() const;
  void fused_step(double lr, const at::Tensor& gradient_scale);
  void plain_step(double lr, const at::Tensor& gradient_scale);

  OptimizerConfig config_;
  std::vector<std::pair<std::string, at::Tensor>> parameters_;
  std::vector<at::Tensor> exp_avgs_;
  std::vector<at::Tensor> exp_avg_sqs_;
  /// The number of updates made; one tensor stands in every place of the fused call's list.
  at::Tensor step_;
  at::Tensor admitted_;  ///< undefined: no step was asked about
  bool released_ = false;
};

}  // namespace coeus
