#include "coeus/parallel/expert/token_exchange.h"

#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>

#include <limits>
#include <numeric>

#include "coeus/base/error.h"
#include "coeus/parallel/sharded_parameters.h"

namespace coeus {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// What the exchanges over one layer have in common.
struct Route {
  std::shared_ptr<ProcessGroup> group;
  std::vector<int64_t> experts;  ///< how many each rank holds
  std::string dispatch, combine, dispatch_backward, combine_backward, counts;
};

/// Which rows of one forward pass go where.
struct Exchange : torch::CustomClassHolder {
  std::shared_ptr<const Route> route;
  std::vector<int64_t> sent;      ///< rows to each rank
  std::vector<int64_t> received;  ///< rows from each rank
  /// Rows arrive rank by rank, each rank's sorted by expert.
  at::Tensor arrivals;     ///< int64 [received rows]: which arrival stands at each place by expert
  at::Tensor places;       ///< int64 [received rows]: the inverse
  at::Tensor expert_ends;  ///< int32 [own experts]

  at::Tensor to_experts(const at::Tensor& rows, const std::string& what) const {
    return route->group->all_to_all(rows, sent, received, what.c_str()).index_select(0, arrivals);
  }
  at::Tensor from_experts(const at::Tensor& rows, const std::string& what) const {
    return route->group->all_to_all(rows.index_select(0, places), received, sent, what.c_str());
  }
};

/// The two directions are each other's transpose, so that gradients need no counts of their own.
class Dispatch : public torch::autograd::Function<Dispatch> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& rows,
                            const c10::intrusive_ptr<Exchange>& exchange) {
    context->saved_data["exchange"] = at::IValue::make_capsule(exchange);
    return exchange->to_experts(rows, exchange->route->dispatch);
  }
  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto exchange =
        c10::static_intrusive_pointer_cast<Exchange>(context->saved_data["exchange"].toCapsule());
    return {exchange->from_experts(grads[0], exchange->route->dispatch_backward), {}};
  }
};

class Combine : public torch::autograd::Function<Combine> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& rows,
                            const c10::intrusive_ptr<Exchange>& exchange) {
    context->saved_data["exchange"] = at::IValue::make_capsule(exchange);
    return exchange->from_experts(rows, exchange->route->combine);
  }
  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto exchange =
        c10::static_intrusive_pointer_cast<Exchange>(context->saved_data["exchange"].toCapsule());
    return {exchange->to_experts(grads[0], exchange->route->combine_backward), {}};
  }
};

at::Tensor rows_per_expert(const at::Tensor& expert_ends) {
  const at::Tensor ends = expert_ends.to(at::kLong);
  return at::diff(ends, 1, 0, at::zeros({1}, ends.options()));
}

/// counts: int64 [all experts], of this rank's rows, on their device.
c10::intrusive_ptr<Exchange> agreed(std::shared_ptr<const Route> route, const at::Tensor& counts,
                                    const at::Device& device) {
  ProcessGroup& group = *route->group;
  const int64_t own = route->experts[group.rank()];
  const at::Tensor of_ranks = group.all_to_all(
      counts, route->experts, std::vector<int64_t>(group.size(), own), route->counts.c_str());
  // The one wait for a device: the host must know how much it sends to whom.
  const at::Tensor on_host = at::cat({counts, of_ranks}).to(at::kCPU);

  auto exchange = c10::make_intrusive<Exchange>();
  const auto* to = on_host.const_data_ptr<int64_t>();
  for (const int64_t experts : route->experts) {
    exchange->sent.push_back(std::accumulate(to, to + experts, int64_t{0}));
    to += experts;
  }
  // [rank][own expert]: how many rows, and where they begin in order of arrival.
  const auto* from = on_host.const_data_ptr<int64_t>() + counts.numel();
  std::vector<int64_t> begins(group.size() * own);
  int64_t arrived = 0;
  for (int64_t rank = 0; rank < group.size(); ++rank) {
    const int64_t before = arrived;
    for (int64_t e = rank * own; e < (rank + 1) * own; ++e) {
      begins[e] = arrived;
      arrived += from[e];
    }
    exchange->received.push_back(arrived - before);
  }
  COEUS_CHECK(arrived <= std::numeric_limits<int32_t>::max(),
              "[{}] {} rows for the experts of one rank are more than int32 counts",
              route->dispatch, arrived);
  at::Tensor arrivals = at::empty({arrived}, at::kLong), places = at::empty({arrived}, at::kLong);
  at::Tensor ends = at::empty({own}, at::kInt);
  auto* arrival_at = arrivals.mutable_data_ptr<int64_t>();
  auto* place_of = places.mutable_data_ptr<int64_t>();
  int64_t place = 0;
  for (int64_t expert = 0; expert < own; ++expert) {
    for (int64_t rank = 0; rank < group.size(); ++rank) {
      const int64_t run = rank * own + expert;
      for (int64_t row = begins[run]; row < begins[run] + from[run]; ++row) {
        arrival_at[place] = row;
        place_of[row] = place++;
      }
    }
    ends.mutable_data_ptr<int32_t>()[expert] = static_cast<int32_t>(place);
  }
  exchange->arrivals = arrivals.to(device);
  exchange->places = places.to(device);
  exchange->expert_ends = ends.to(device);
  exchange->route = std::move(route);
  return exchange;
}

at::Tensor in_autocast_dtype(const at::Tensor& rows) {
  const at::DeviceType device = rows.device().type();
  return at::autocast::is_autocast_enabled(device) && rows.is_floating_point()
             ? rows.to(at::autocast::get_autocast_dtype(device))
             : rows;
}

}  // namespace

nn::GroupedExpertsImpl::Dispatch exchange_tokens(std::shared_ptr<ProcessGroup> group,
                                                 int64_t num_experts, std::string name) {
  auto route = std::make_shared<Route>();
  route->experts = chunk_sizes(num_experts, group->size());
  route->group = std::move(group);
  route->counts = name + " counts";
  route->dispatch = name + " dispatch";
  route->combine = name + " combine";
  route->dispatch_backward = name + " dispatch backward";
  route->combine_backward = name + " combine backward";
  return [route = std::shared_ptr<const Route>(std::move(route)), num_experts](
             const at::Tensor& x, const at::Tensor& expert_ends,
             const nn::GroupedExpertsImpl::Compute& compute) {
    COEUS_ASSERT(expert_ends.numel() == num_experts);
    const auto exchange = agreed(route, rows_per_expert(expert_ends), x.device());
    const at::Tensor own = Dispatch::apply(in_autocast_dtype(x), exchange);
    return Combine::apply(compute(own, exchange->expert_ends), exchange);
  };
}

}  // namespace coeus
