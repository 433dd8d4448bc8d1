#include "coeus/ops/attention_report.h"

#include <algorithm>
#include <cmath>

namespace coeus {

namespace {

double worse(double a, double b) { return std::isnan(a) || a > b ? a : b; }

}  // namespace

void AttentionDifference::take_worse(const AttentionDifference& other) {
  output = worse(output, other.output);
  grad_q = worse(grad_q, other.grad_q);
  grad_k = worse(grad_k, other.grad_k);
  grad_v = worse(grad_v, other.grad_v);
}

double AttentionDifference::worst() const {
  return worse(worse(output, grad_q), worse(grad_k, grad_v));
}

AttentionLayerReport& AttentionReport::of(const std::string& layer) {
  const auto found = std::find_if(layers_.begin(), layers_.end(),
                                  [&](const auto& known) { return known.layer == layer; });
  if (found != layers_.end()) return *found;
  layers_.push_back({.layer = layer, .choice = {AttentionEngine::kAuto, ""}});
  return layers_.back();
}

void AttentionReport::add_choice(const std::string& layer, const EngineChoice& choice,
                                 const BlockMask& mask) {
  const std::lock_guard lock(mutex_);
  AttentionLayerReport& report = of(layer);
  if (report.first_mask_row != nullptr || mask.batch_size() == 0) return;
  report.choice = choice;
  report.first_mask_row = mask.shared_row(0);
}

void AttentionReport::add_forward_check(const std::string& layer, double output) {
  const std::lock_guard lock(mutex_);
  AttentionLayerReport& report = of(layer);
  ++report.forward_checks;
  report.worst.take_worse({.output = output});
}

void AttentionReport::add_backward_check(const std::string& layer,
                                         const AttentionDifference& difference) {
  const std::lock_guard lock(mutex_);
  AttentionLayerReport& report = of(layer);
  ++report.backward_checks;
  report.worst.take_worse(difference);
}

std::vector<AttentionLayerReport> AttentionReport::layers() const {
  const std::lock_guard lock(mutex_);
  return layers_;
}

AttentionDifference AttentionReport::worst() const {
  AttentionDifference all;
  for (const AttentionLayerReport& layer : layers()) all.take_worse(layer.worst);
  return all;
}

}  // namespace coeus
