#include "coeus/optim/optimizer.h"

#include <torch/types.h>

#include "coeus/base/error.h"

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
    if (!parameter.grad().defined()) parameter.mutable_grad() = at::zeros_like(parameter);
    exp_avgs_.push_back(at::zeros_like(parameter));
    exp_avg_sqs_.push_back(at::zeros_like(parameter));
  }
}

const at::Tensor& Optimizer::admit(const at::Tensor& finite) {
  admitted_ = admitted_.defined() ? admitted_.logical_and(finite) : finite;
  return admitted_;
}

void Optimizer::step(double lr) {
  at::NoGradGuard no_grad;
  std::vector<at::Tensor> parameters, gradients;
  for (const auto& [name, parameter] : parameters_) {
    COEUS_CHECK(parameter.grad().defined() || released_, "[Optimizer] parameter {} has no gradient",
                name);
    parameters.push_back(parameter);
    gradients.push_back(parameter.grad().defined() ? parameter.grad() : at::zeros_like(parameter));
  }
  // What PyTorch's gradient scalers tell the fused update: at 1 it changes nothing.
  std::optional<at::Tensor> found_inf;
  if (admitted_.defined()) {
    found_inf = admitted_.logical_not().to(at::kFloat);
    step_ += admitted_;
  } else {
    step_ += 1;
  }
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
    if (parameter.grad().defined()) parameter.mutable_grad().zero_();
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
