#pragma once

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "coeus/mask/block_mask.h"
#include "coeus/ops/attention.h"

namespace coeus::nn {

/// The part of an attention layer between its projections: which engine computes it, and where it
/// reports. It has no parameters; the mask is an argument.
class InnerAttentionImpl : public torch::nn::Module {
 public:
  /// `scale`: see AttentionOptions.
  explicit InnerAttentionImpl(AttentionEngine engine, std::optional<double> scale = {});
  /// coeus::attention(q, k, v, mask) by this layer's engine and scale. Throws Error for a mask that
  /// is spread over ranks in a layer that was not given a way to reach the others.
  at::Tensor forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const BlockMask& mask);
  /// What takes the place of coeus::attention under masks that are spread over ranks: q, k and v
  /// are those of this rank's tokens.
  using ShardedAttention =
      std::function<at::Tensor(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                               const BlockMask& mask, const AttentionOptions& options)>;
  void set_sharded_attention(ShardedAttention f) { sharded_attention_ = std::move(f); }
  /// From now on, tells `report` what it does, under the name `layer`.
  void report_to(std::shared_ptr<AttentionReport> report, std::string layer);

 private:
  AttentionOptions options_;
  ShardedAttention sharded_attention_;
};
TORCH_MODULE(InnerAttention);

/// Lets every InnerAttention in `model` report under its layer's name ("layers.0.attention").
void report_attention(const torch::nn::Module& model,
                      const std::shared_ptr<AttentionReport>& report);

}  // namespace coeus::nn
