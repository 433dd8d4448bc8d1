#include "coeus/ops/grouped_linear.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>

#include <optional>

#include "coeus/base/error.h"
#include "coeus/ops/linear.h"
#include "coeus/ops/weight_gradient_queue.h"

namespace coeus {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

std::vector<int64_t> rows_of_groups(const at::Tensor& ends) {
  const at::Tensor on_host = ends.to(at::kCPU, at::kLong).contiguous();
  const auto* end = on_host.const_data_ptr<int64_t>();
  std::vector<int64_t> rows(ends.numel());
  for (size_t g = 0; g < rows.size(); ++g) rows[g] = end[g] - (g == 0 ? 0 : end[g - 1]);
  return rows;
}

/// Calls f(group, first row, rows) for every group that has rows.
template <class F>
void for_each_group(const std::vector<int64_t>& rows, F f) {
  int64_t first = 0;
  for (size_t g = 0; g < rows.size(); ++g) {
    if (rows[g] > 0) f(static_cast<int64_t>(g), first, rows[g]);
    first += rows[g];
  }
}

/// x W^T group by group. weight: [groups, out, in].
at::Tensor multiply_groups(const at::Tensor& x, const at::Tensor& weight,
                           const std::vector<int64_t>& rows) {
  at::Tensor out = at::empty({x.size(0), weight.size(1)}, x.options());
  for_each_group(rows, [&](int64_t group, int64_t first, int64_t count) {
    out.narrow(0, first, count)
        .copy_(product_with_transpose(x.narrow(0, first, count), weight[group]));
  });
  return out;
}

/// The weight's gradient, [groups, out, in]: of each group grad^T x.
at::Tensor weight_gradient_of_groups(const at::Tensor& grad, const at::Tensor& x,
                                     const std::vector<int64_t>& rows) {
  at::Tensor result =
      at::empty({static_cast<int64_t>(rows.size()), grad.size(1), x.size(1)}, x.options());
  for (size_t g = 0; g < rows.size(); ++g)
    if (rows[g] == 0) result[static_cast<int64_t>(g)].zero_();
  for_each_group(rows, [&](int64_t group, int64_t first, int64_t count) {
    result[group].copy_(
        product_with_transpose(grad.narrow(0, first, count).t(), x.narrow(0, first, count).t()));
  });
  return result;
}

/// `multiplied`: as in linear.cpp's Product. With `grouped_mm`, by at::_grouped_mm.
class GroupedProduct : public torch::autograd::Function<GroupedProduct> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const std::optional<at::Tensor>& multiplied, const at::Tensor& ends,
                            bool grouped_mm, const c10::intrusive_ptr<WeightGradientQueue>& queue) {
    context->save_for_backward({x, weight, multiplied.value_or(at::Tensor()), ends});
    if (queue != nullptr) context->saved_data["queue"] = at::IValue::make_capsule(queue);
    const at::Tensor& w = multiplied ? *multiplied : weight;
    if (grouped_mm) return at::_grouped_mm(x, w.transpose(1, 2), ends);
    const std::vector<int64_t> rows = rows_of_groups(ends);
    context->saved_data["rows"] = rows;
    return multiply_groups(x, w, rows);
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &ends = saved[3];
    const at::Tensor& multiplied = saved[2].defined() ? saved[2] : weight;
    const at::Tensor grad = grads[0].contiguous();
    // Absent by at::_grouped_mm, which reads `ends` on the device.
    std::optional<std::vector<int64_t>> rows;
    if (context->saved_data.count("rows") > 0) rows = context->saved_data["rows"].toIntVector();
    at::Tensor grad_x, grad_weight;
    if (context->needs_input_grad(0))
      grad_x = rows ? multiply_groups(grad, multiplied.transpose(1, 2), *rows)
                    : at::_grouped_mm(grad, multiplied, ends);
    if (context->needs_input_grad(1))
      grad_weight = now_or_later(queue_of(*context), weight,
                                 [grad, x, ends, rows, dtype = weight.scalar_type()] {
                                   return (rows ? weight_gradient_of_groups(grad, x, *rows)
                                                : at::_grouped_mm(grad.t(), x, ends))
                                       .to(dtype);
                                 });
    return {grad_x, grad_weight, {}, {}, {}, {}};
  }
};

/// Whether at::_grouped_mm takes these: bfloat16 with rows of whole 16 bytes.
bool suits_grouped_mm(const at::Tensor& x, const at::Tensor& weight) {
  return x.scalar_type() == at::kBFloat16 && weight.scalar_type() == at::kBFloat16 &&
         weight.size(1) % 8 == 0 && weight.size(2) % 8 == 0;
}

}  // namespace

at::Tensor grouped_linear_reference(const at::Tensor& x, const at::Tensor& weight,
                                    const at::Tensor& ends) {
  std::vector<at::Tensor> parts = x.split_with_sizes(rows_of_groups(ends));
  for (size_t g = 0; g < parts.size(); ++g)
    parts[g] = at::linear(parts[g], weight[static_cast<int64_t>(g)]);
  return at::cat(parts);
}

at::Tensor grouped_linear(const at::Tensor& x_in, const at::Tensor& weight_in,
                          const at::Tensor& ends, bool use_grouped_mm) {
  COEUS_CHECK(weight_in.dim() == 3 && x_in.dim() == 2 && x_in.size(1) == weight_in.size(2),
              "[grouped_linear] the weight must be [groups, out, in] for x [rows, in], got weight "
              "{} and x {}",
              weight_in.sizes(), x_in.sizes());
  COEUS_CHECK(ends.dim() == 1 && ends.size(0) == weight_in.size(0) &&
                  ends.scalar_type() == at::kInt && ends.device() == x_in.device(),
              "[grouped_linear] ends must be int32 [{}] on {}, got {} {} on {}", weight_in.size(0),
              x_in.device().str(), c10::toString(ends.scalar_type()), ends.sizes(),
              ends.device().str());
  at::Tensor x = x_in.contiguous(), weight = weight_in;
  const at::DeviceType device = x.device().type();
  cast_for_autocast(x, weight);
  // Where other ranks hold experts, this one's may have no rows, or it may have none.
  const bool empty = x.size(0) == 0;
  const bool grouped_mm = use_grouped_mm && suits_grouped_mm(x, weight) && !empty;
  const c10::intrusive_ptr<WeightGradientQueue> queue = queue_for(weight_in);
  if (queue != nullptr && (grouped_mm || empty || device == at::kCPU)) {
    const std::optional<at::Tensor> multiplied =
        weight.is_same(weight_in) ? std::nullopt : std::optional(weight.detach());
    return GroupedProduct::apply(x, weight_in, multiplied, ends, grouped_mm, queue);
  }
  if (grouped_mm) return at::_grouped_mm(x, weight.transpose(1, 2), ends);
  if (device != at::kCPU && !empty) return grouped_linear_by_tiles(x, weight, ends);
  return GroupedProduct::apply(x, weight, std::nullopt, ends, /*grouped_mm=*/false, queue);
}

at::Tensor grouped_linear_by_tiles(const at::Tensor& x, const at::Tensor& weight,
                                   const at::Tensor& ends, int64_t tile_rows) {
  const int64_t rows = x.size(0), groups = weight.size(0);
  const int64_t tiles = rows / tile_rows + groups;
  const auto count = [&](int64_t n) { return at::arange(n, ends.options().dtype(at::kLong)); };
  const at::Tensor group_ends = ends.to(at::kLong);
  const at::Tensor begins = at::constant_pad_nd(group_ends.slice(0, 0, -1), {1, 0});
  const at::Tensor tile_ends =
      (group_ends - begins + (tile_rows - 1)).floor_divide(tile_rows).cumsum(0);
  const at::Tensor tile_begins = at::constant_pad_nd(tile_ends.slice(0, 0, -1), {1, 0});
  // The tiles past the last group's are empty: any weight serves them.
  const at::Tensor group_of_tile =
      at::searchsorted(tile_ends, count(tiles), /*out_int32=*/false, /*right=*/true)
          .clamp_max(groups - 1);
  const at::Tensor group_of_row =
      at::searchsorted(group_ends, count(rows), /*out_int32=*/false, /*right=*/true);
  const at::Tensor padded_row = (count(rows) - begins.index_select(0, group_of_row)) +
                                tile_begins.index_select(0, group_of_row) * tile_rows;
  const at::Tensor in_tiles = at::zeros({tiles * tile_rows, x.size(1)}, x.options())
                                  .index_copy(0, padded_row, x)
                                  .view({tiles, tile_rows, x.size(1)});
  return at::bmm(in_tiles, weight.index_select(0, group_of_tile).transpose(1, 2))
      .flatten(0, 1)
      .index_select(0, padded_row);
}

}  // namespace coeus
