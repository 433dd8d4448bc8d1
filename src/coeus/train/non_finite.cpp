#include "coeus/train/non_finite.h"

#include <torch/types.h>

#include <cmath>
#include <utility>

#include "coeus/base/error.h"

namespace coeus {

namespace {

bool is_finite(const at::Tensor& x) { return at::isfinite(x).all().item<bool>(); }

/// "layers.3" of "layers.3.attention.wq.weight"; "" of a parameter outside the blocks.
std::string block_of(const std::string& name) {
  const size_t digit = name.find_first_of("0123456789");
  const size_t end = name.find_first_not_of("0123456789", digit);
  if (digit == std::string::npos || digit == 0 || end == std::string::npos) return "";
  return name[digit - 1] == '.' && name[end] == '.' ? name.substr(0, end) : "";
}

/// Which gradients are bad: those of the last block that has any, and what lies around it. Blocks
/// are registered from input to output, and backward takes them the other way; within a block, and
/// of what lies outside, the order says nothing.
std::string bad_gradients(const std::vector<std::pair<std::string, at::Tensor>>& parameters,
                          const at::Tensor& gradient_norms) {
  const at::Tensor finite = at::isfinite(gradient_norms).to(at::kCPU);
  const bool* next_is_finite = finite.const_data_ptr<bool>();
  std::string block;
  std::vector<std::string> of_block, outside;
  size_t before = 0;
  for (const auto& [name, parameter] : parameters) {
    if (*next_is_finite++) continue;
    const std::string its_block = block_of(name);
    if (its_block.empty()) {
      outside.push_back(name);
      continue;
    }
    if (its_block != block) before += std::exchange(of_block, {}).size();
    block = its_block;
    of_block.push_back(name.substr(block.size() + 1));
  }
  std::vector<std::string> parts;
  if (!of_block.empty())
    parts.push_back(fmt::format("in {} ({})", block, fmt::join(of_block, ", ")));
  if (before > 0) parts.push_back(fmt::format("in blocks before it ({} parameters)", before));
  if (!outside.empty())
    parts.push_back(fmt::format("outside the blocks ({})", fmt::join(outside, ", ")));
  if (parts.empty())
    return "the first bad tensor is the norm of the gradients, whose squares overflow";
  return fmt::format("gradients are bad {}", fmt::join(parts, ", "));
}

std::string bad_tensors(double loss,
                        const std::vector<std::pair<std::string, at::Tensor>>& parameters,
                        const at::Tensor& gradient_norms,
                        const std::function<std::string()>& find_bad_output) {
  const at::NoGradGuard no_grad;
  for (const auto& [name, parameter] : parameters)
    if (!is_finite(parameter)) return fmt::format("the first bad tensor is the parameter {}", name);
  if (std::isfinite(loss)) return bad_gradients(parameters, gradient_norms);
  const std::string output = find_bad_output ? find_bad_output() : "";
  return "the first bad tensor is " +
         (output.empty() ? "the loss (all parameters are finite)" : output);
}

/// x: [batch, seq, …]; "" when it is finite. Tokens are counted as in their rows, also where this
/// rank has only some of them.
std::string bad_place(const at::Tensor& x, const std::vector<SequenceLayout>& layouts) {
  if (is_finite(x)) return "";
  const at::Tensor first = at::isfinite(x).flatten(2).all(-1).logical_not().nonzero()[0];
  const auto row = first[0].item<int64_t>();
  auto token = first[1].item<int64_t>();
  const auto number = static_cast<size_t>(row);
  if (number < layouts.size() && layouts[number].query_length() == x.size(1))
    token = layouts[number].query()->index[token];
  return fmt::format("(row {}, token {})", row, token);
}

/// Watches the blocks of a model while it lives.
class Watch {
 public:
  Watch(const Model& model, const std::vector<SequenceLayout>& layouts) : layouts_(layouts) {
    for (const auto& item : model.named_modules()) {
      auto* block = dynamic_cast<nn::Block*>(item.value().get());
      if (block == nullptr) continue;
      blocks_.push_back(block);
      block->set_observer([this, name = item.key()](const at::Tensor& in, const at::Tensor& out) {
        note("the input of " + name, in);
        note("the output of " + name, out);
      });
    }
  }
  ~Watch() {
    for (nn::Block* block : blocks_) block->set_observer({});
  }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  void note(const std::string& what, const at::Tensor& x) {
    if (!first_.empty()) return;
    const std::string place = bad_place(x, layouts_);
    if (!place.empty()) first_ = what + " " + place;
  }
  const std::string& first() const { return first_; }

 private:
  const std::vector<SequenceLayout>& layouts_;
  std::vector<nn::Block*> blocks_;
  std::string first_;
};

}  // namespace

void check_finite(int64_t step, double loss, double grad_norm,
                  const std::vector<std::pair<std::string, at::Tensor>>& parameters,
                  const at::Tensor& gradient_norms,
                  const std::function<std::string()>& find_bad_output) {
  if (std::isfinite(loss) && std::isfinite(grad_norm)) return;
  throw NonFiniteError(fmt::format(
      "step {}: loss {} and grad_norm {} are not both finite; {}. The step "
      "was not taken. Lower optimizer.lr, lengthen lr_scheduler.warmup_steps, or resume from an "
      "earlier checkpoint",
      step, loss, grad_norm, bad_tensors(loss, parameters, gradient_norms, find_bad_output)));
}

std::string first_bad_output(Model& model, const BatchTensors& batch, const AttentionMasks& masks,
                             const std::vector<SequenceLayout>& layouts) {
  const at::NoGradGuard no_grad;
  Watch watch(model, layouts);
  const at::Tensor logits =
      model.forward_with_images(batch.tokens, batch.positions, masks, batch.images);
  watch.note("the logits", logits);
  return watch.first();
}

}  // namespace coeus
