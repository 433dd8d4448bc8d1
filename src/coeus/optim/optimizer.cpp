#include "coeus/optim/optimizer.h"

#include <torch/types.h>

#include <algorithm>
#include <map>
#include <optional>

#include "coeus/base/error.h"
#include "coeus/ops/fused_operations.h"
#include "coeus/optim/gradient_norm.h"

namespace coeus {

Optimizer::Optimizer(const OptimizerConfig& config,
                     std::vector<std::pair<std::string, at::Tensor>> parameters)
    : config_(config),
      parameters_(std::move(parameters)),
      // Beside the parameters, where the update reads it.
      step_(at::zeros({},
                      (parameters_.empty() ? at::TensorOptions() : parameters_[0].second.options())
                          .dtype(at::kFloat)
                          .requires_grad(false))) {
  COEUS_CHECK_CONFIG(config.name == "Adam" || config.name == "AdamW",
                     "optimizer.name = \"{}\": there are Adam and AdamW", config.name);
  for (auto& [name, parameter] : parameters_) {
    exp_avgs_.push_back(at::zeros_like(parameter));
    exp_avg_sqs_.push_back(at::zeros_like(parameter));
  }
}

const at::Tensor& Optimizer::admit(const at::Tensor& finite) {
  admitted_ = admitted_.defined() ? admitted_.logical_and(finite) : finite;
  return admitted_;
}

void Optimizer::step(double lr, const at::Tensor& gradient_scale) {
  const at::NoGradGuard no_grad;
  for (const auto& [name, parameter] : parameters_) {
    COEUS_CHECK(parameter.grad().defined() || released_, "[Optimizer] parameter {} has no gradient",
                name);
    if (!parameter.grad().defined()) parameter.mutable_grad() = at::zeros_like(parameter);
  }
  if (admitted_.defined())
    step_ += admitted_;
  else
    step_ += 1;
  if (is_fused())
    fused_step(lr, gradient_scale);
  else
    plain_step(lr, gradient_scale);
}

bool Optimizer::is_fused() const {
  return !parameters_.empty() && std::ranges::all_of(parameters_, [](const auto& named) {
    const at::Tensor& parameter = named.second;
    return fused_operations(parameter) != nullptr && parameter.is_contiguous() &&
           parameter.grad().scalar_type() == parameter.scalar_type();
  });
}

void Optimizer::fused_step(double lr, const at::Tensor& gradient_scale) {
  // One update takes one dtype.
  std::map<at::ScalarType, AdamUpdate> updates;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const at::Tensor& parameter = parameters_[i].second;
    AdamUpdate& update = updates[parameter.scalar_type()];
    update.parameters.push_back(parameter);
    update.gradients.push_back(parameter.grad());
    update.exp_avgs.push_back(exp_avgs_[i]);
    update.exp_avg_sqs.push_back(exp_avg_sqs_[i]);
  }
  for (auto& [dtype, update] : updates) {
    update.decoupled = config_.name == "AdamW";
    update.lr = lr;
    update.beta1 = config_.beta1;
    update.beta2 = config_.beta2;
    update.weight_decay = config_.weight_decay;
    update.eps = config_.eps;
    update.step = step_;
    update.gradient_scale = gradient_scale;
    if (admitted_.defined()) update.skip = admitted_.logical_not().to(at::kFloat);
    fused_operations(update.parameters[0])->adam(update);
  }
}

void Optimizer::plain_step(double lr, const at::Tensor& gradient_scale) {
  if (gradient_scale.defined()) scale_gradients(parameters_, gradient_scale);
  std::vector<at::Tensor> parameters, gradients;
  for (const auto& [name, parameter] : parameters_) {
    parameters.push_back(parameter);
    gradients.push_back(parameter.grad());
  }
  // What PyTorch's gradient scalers tell the fused update: at 1 it changes nothing.
  std::optional<at::Tensor> found_inf;
  if (admitted_.defined()) found_inf = admitted_.logical_not().to(at::kFloat);
  const std::vector<at::Tensor> steps(parameters.size(), step_);
  const auto update = [&](auto fused) {
    fused(parameters, gradients, exp_avgs_, exp_avg_sqs_, /*max_exp_avg_sqs=*/at::TensorList(),
          steps, lr, config_.beta1, config_.beta2, config_.weight_decay, config_.eps,
          /*amsgrad=*/false, /*maximize=*/false, /*grad_scale=*/std::nullopt, found_inf);
  };
  if (config_.name == "AdamW")
    update([](auto&&... args) { at::_fused_adamw_(args...); });
  else
    update([](auto&&... args) { at::_fused_adam_(args...); });
}

void Optimizer::zero_grad() {
  for (const auto& [name, parameter] : parameters_)
    if (parameter.grad().defined())
      parameter.mutable_grad().zero_();
    else
      parameter.mutable_grad() = at::zeros_like(parameter);
}

void Optimizer::release_grad() {
  released_ = true;
  for (auto& [name, parameter] : parameters_) parameter.mutable_grad().reset();
}

std::vector<std::pair<std::string, at::Tensor>> Optimizer::state() const {
  std::vector<std::pair<std::string, at::Tensor>> state;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    state.emplace_back("exp_avg." + parameters_[i].first, exp_avgs_[i]);
    state.emplace_back("exp_avg_sq." + parameters_[i].first, exp_avg_sqs_[i]);
  }
  state.emplace_back("step", step_);
  return state;
}

int64_t Optimizer::bytes() const {
  int64_t bytes = 0;
  for (const auto& [name, tensor] : state()) bytes += static_cast<int64_t>(tensor.nbytes());
  return bytes;
}

}  // namespace coeus
