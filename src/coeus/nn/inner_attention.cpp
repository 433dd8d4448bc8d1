#include "coeus/nn/inner_attention.h"

#include <torch/types.h>

#include <utility>

#include "coeus/base/error.h"

namespace coeus::nn {

InnerAttentionImpl::InnerAttentionImpl(AttentionEngine engine, std::optional<double> scale)
    : options_{.scale = scale, .engine = engine} {}

at::Tensor InnerAttentionImpl::forward(const at::Tensor& q, const at::Tensor& k,
                                       const at::Tensor& v, const BlockMask& mask) {
  if (!mask.is_sharded()) return coeus::attention(q, k, v, mask, options_);
  COEUS_CHECK(sharded_attention_,
              "[InnerAttention] the mask's keys are spread over ranks and this layer does not know "
              "how to reach them; call apply_context_parallel on the model");
  return sharded_attention_(q, k, v, mask, options_);
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
