#include "coeus/ops/rope.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>

#include <algorithm>

#include "coeus/base/error.h"
#include "coeus/ops/cpu_dispatch.h"
#include "coeus/ops/fused_operations.h"
#include "coeus/ops/parallel_for.h"

namespace coeus {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor rotate(const at::Tensor& x_in, const at::Tensor& table, const at::Tensor& positions,
                  RopePairs pairs, float sign) {
  if (FusedOperations* const fused = fused_operations(x_in))
    return fused->rope(x_in, table, positions, pairs, sign);
  const at::Tensor x = x_in.contiguous();
  at::Tensor out = at::empty_like(x);
  const int64_t heads = x.size(2);
  const int64_t head_dim = x.size(3);
  with_kernel_type(x, [&]<class T>() {
    const auto kernel =
        pairs == RopePairs::kHalves ? cpu_kernels<T>().rope_halves : cpu_kernels<T>().rope;
    const int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(1, heads * head_dim));
    at::parallel_for(0, x.size(0) * x.size(1), grain, [&](int64_t begin, int64_t end) {
      const int64_t offset = begin * heads * head_dim;
      kernel(kernel_input<T>(x) + offset, table.const_data_ptr<float>(),
             positions.const_data_ptr<int32_t>() + begin, kernel_output<T>(out) + offset,
             end - begin, heads, head_dim, sign);
    });
  });
  return out;
}

class Rope : public torch::autograd::Function<Rope> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& table,
                            const at::Tensor& positions, RopePairs pairs) {
    context->save_for_backward({table, positions});
    context->saved_data["halves"] = pairs == RopePairs::kHalves;
    return rotate(x, table, positions, pairs, 1.0F);
  }
  static variable_list backward(AutogradContext* context, variable_list grads) {
    const variable_list saved = context->get_saved_variables();
    const RopePairs pairs =
        context->saved_data["halves"].toBool() ? RopePairs::kHalves : RopePairs::kInterleaved;
    return {rotate(grads[0], saved[0], saved[1], pairs, -1.0F), {}, {}, {}};
  }
};

void check(const at::Tensor& x, const at::Tensor& table, const at::Tensor& positions) {
  COEUS_CHECK(x.dim() == 4 && x.size(3) % 2 == 0,
              "[rope] x must be [batch, seq, heads, an even head_dim], got {}", x.sizes());
  COEUS_CHECK(table.dim() == 3 && table.size(1) == x.size(3) / 2 && table.size(2) == 2 &&
                  table.scalar_type() == at::kFloat,
              "[rope] the table must be float32 [positions, {}, 2], got {} {}", x.size(3) / 2,
              c10::toString(table.scalar_type()), table.sizes());
  COEUS_CHECK(positions.dim() == 2 && positions.size(0) == x.size(0) &&
                  positions.size(1) == x.size(1) && positions.scalar_type() == at::kInt,
              "[rope] positions must be int32 [{}, {}], got {} {}", x.size(0), x.size(1),
              c10::toString(positions.scalar_type()), positions.sizes());
  COEUS_CHECK(table.device() == x.device() && positions.device() == x.device(),
              "[rope] x is on {}, the table on {} and positions on {}; bring all to one device",
              x.device().str(), table.device().str(), positions.device().str());
}

void check_range(const at::Tensor& table, const at::Tensor& positions) {
  const auto* first = positions.const_data_ptr<int32_t>();
  const auto* last = first + positions.numel();
  const auto outside = std::find_if(
      first, last, [&](int32_t p) { return p < 0 || p >= static_cast<int32_t>(table.size(0)); });
  COEUS_CHECK(outside == last,
              "[rope] position {} of token {} lies outside the table of {} positions; build the "
              "model for a longer sequence",
              *outside, outside - first, table.size(0));
}

}  // namespace

at::Tensor rope_reference(const at::Tensor& x, const at::Tensor& table, const at::Tensor& positions,
                          RopePairs pairs) {
  check(x, table, positions);
  // [batch, seq, 1, head_dim / 2]: the same angle for every head.
  const at::Tensor gathered = table.index({positions.to(at::kLong)}).unsqueeze(2);
  const at::Tensor cosine = gathered.select(-1, 0);
  const at::Tensor sine = gathered.select(-1, 1);
  const auto dtype = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const bool halves = pairs == RopePairs::kHalves;
  // A pair's two values lie along this dimension.
  const int64_t pair_dim = halves ? -2 : -1;
  const at::Tensor paired =
      halves ? x.to(dtype).unflatten(-1, {2, -1}) : x.to(dtype).unflatten(-1, {-1, 2});
  const at::Tensor a = paired.select(pair_dim, 0);
  const at::Tensor b = paired.select(pair_dim, 1);
  return at::stack({a * cosine - b * sine, a * sine + b * cosine}, pair_dim)
      .flatten(-2)
      .to(x.scalar_type());
}

at::Tensor rope(const at::Tensor& x, const at::Tensor& table, const at::Tensor& positions_in,
                RopePairs pairs) {
  check(x, table, positions_in);
  if (!has_cpu_kernel(x) && fused_operations(x) == nullptr)
    return rope_reference(x, table, positions_in, pairs);
  const at::Tensor positions = positions_in.contiguous();
  // A device finds out by itself, and gives NaN, rather than be waited for.
  if (positions.device().is_cpu()) check_range(table, positions);
  return Rope::apply(x, table.contiguous(), positions, pairs);
}

}  // namespace coeus
