// What a run learns about its attention, layer by layer.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "coeus/mask/block_mask.h"
#include "coeus/ops/attention.h"

namespace coeus {

/// How far an engine is from the reference: the largest difference of any element, divided by the
/// reference's largest element. Infinite when only the engine's is infinite; NaN when either is NaN
/// or the reference is infinite, also where both are the same infinity.
struct AttentionDifference {
  double output = 0;
  double grad_q = 0;
  double grad_k = 0;
  double grad_v = 0;

  /// The larger of the two in each; NaN stays.
  void take_worse(const AttentionDifference& other);
  double worst() const;
};

/// What is known of one layer.
struct AttentionLayerReport {
  std::string layer;
  /// As of the layer's first call.
  EngineChoice choice;
  std::shared_ptr<const BlockMaskRow> first_mask_row;
  /// Comparisons with the reference, and the worst of them (AttentionEngine::kCheck).
  int64_t forward_checks = 0;
  int64_t backward_checks = 0;
  AttentionDifference worst;
};

/// Collects what `attention` says when it is in AttentionOptions. May be written from any thread.
class AttentionReport {
 public:
  /// Keeps the first choice of each layer.
  void add_choice(const std::string& layer, const EngineChoice& choice, const BlockMask& mask);
  void add_forward_check(const std::string& layer, double output);
  void add_backward_check(const std::string& layer, const AttentionDifference& difference);

  /// In the order in which the layers first spoke.
  std::vector<AttentionLayerReport> layers() const;
  /// The worst of all layers.
  AttentionDifference worst() const;

 private:
  AttentionLayerReport& of(const std::string& layer);

  mutable std::mutex mutex_;
  std::vector<AttentionLayerReport> layers_;
};

/// `engine`'s attention, compared with the reference in forward and in backward; the differences go
/// to `report`. Values and gradients are the engine's own, bit for bit. Backward computes the
/// engine's forward once more, to differentiate it apart from the model's graph.
at::Tensor attention_checked(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                             const BlockMask& mask, double scale, AttentionEngine engine,
                             const std::shared_ptr<AttentionReport>& report,
                             const std::string& layer);

}  // namespace coeus
