#include "coeus/nn/inner_attention.h"

#include <torch/types.h>

#include <utility>

namespace coeus::nn {

InnerAttentionImpl::InnerAttentionImpl(AttentionEngine engine, std::optional<double> scale)
    : options_{.scale = scale, .engine = engine} {}

at::Tensor InnerAttentionImpl::forward(const at::Tensor& q, const at::Tensor& k,
                                       const at::Tensor& v, const BlockMask& mask) {
  return coeus::attention(q, k, v, mask, options_);
}

void InnerAttentionImpl::report_to(std::shared_ptr<AttentionReport> report, std::string layer) {
  options_.report = std::move(report);
  options_.layer = std::move(layer);
}

void report_attention(const torch::nn::Module& model,
                      const std::shared_ptr<AttentionReport>& report) {
  for (const auto& module : model.named_modules("", /*include_self=*/false)) {
    auto* const attention = dynamic_cast<InnerAttentionImpl*>(module.value().get());
    if (attention == nullptr) continue;
    const std::string& name = module.key();
    attention->report_to(report, name.substr(0, name.rfind('.')));
  }
}

}  // namespace coeus::nn
