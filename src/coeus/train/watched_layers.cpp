#include "coeus/train/watched_layers.h"

#include <torch/types.h>

#include <memory>
#include <string>

#include "coeus/base/trace_log.h"
#include "coeus/nn/layer.h"
#include "coeus/parallel/fsdp/at_backward.h"

namespace coeus {

namespace {

/// One forward pass of a layer and its backward, several of which may be under way in a pipeline.
struct Pass {
  int64_t forward_begin_ns = 0;
  int64_t backward_begin_ns = 0;
};

void add(const std::string& name, int64_t begin_ns) {
  TraceLog::add(
      {.row = "layers", .name = name, .begin_ns = begin_ns, .end_ns = TraceLog::now_ns()});
}

void watch_layer(nn::Layer& layer, const std::string& name) {
  const auto current = std::make_shared<std::shared_ptr<Pass>>();
  layer.add_input_hook([current, name](const at::Tensor& x) {
    current->reset();
    if (!TraceLog::is_on()) return x;
    const auto pass = std::make_shared<Pass>();
    *current = pass;
    const at::Tensor input = at_backward(x, [pass, name] {
      if (pass->backward_begin_ns > 0) add(name + " backward", pass->backward_begin_ns);
    });
    pass->forward_begin_ns = TraceLog::now_ns();
    return input;
  });
  layer.add_output_hook([current, name](const at::Tensor& y) {
    const std::shared_ptr<Pass> pass = std::move(*current);
    if (!pass) return y;
    add(name + " forward", pass->forward_begin_ns);
    return at_backward(y, [pass] { pass->backward_begin_ns = TraceLog::now_ns(); });
  });
}

}  // namespace

void watch_layers(const torch::nn::Module& model) {
  std::string watched = "\n";  // begins no name
  for (const auto& item : model.named_modules("", /*include_self=*/false)) {
    if (item.key().starts_with(watched)) continue;
    auto* const layer = dynamic_cast<nn::Layer*>(item.value().get());
    if (layer == nullptr) continue;
    watched = item.key() + ".";
    watch_layer(*layer, item.key());
  }
}

}  // namespace coeus
