// Block-sparse flash attention on the CPU: shares the kernels' work out to the threads.
#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <numeric>
#include <optional>
#include <vector>

#include "coeus/base/error.h"
#include "coeus/kernels/cpu/attention.h"
#include "coeus/ops/attention_part.h"
#include "coeus/ops/cpu_dispatch.h"
#include "coeus/ops/device_attention.h"
#include "coeus/ops/kept_results.h"
#include "coeus/ops/parallel_for.h"
#include "coeus/ops/saved_mask.h"

namespace coeus {

namespace {

constexpr int64_t kWidestHead = 256;

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// A thread's own memory: so many bytes, of which the first `zeros` are 0.
struct Scratch {
  int64_t bytes = 0;
  int64_t zeros = 0;
};

/// Calls f(i, memory) for i in [0, items), each on whichever thread is free next, with the memory
/// of that thread: what f(i) gives must not depend on what ran before it.
template <class F>
void for_each_item(int64_t items, Scratch wanted, const F& f) {
  std::atomic<int64_t> next{0};
  const int64_t threads = std::min<int64_t>(at::get_num_threads(), items);
  at::parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
    const at::Tensor scratch = at::empty({wanted.bytes}, at::TensorOptions().dtype(at::kByte));
    std::memset(kernel_output<std::byte>(scratch), 0, static_cast<size_t>(wanted.zeros));
    for (int64_t thread = begin; thread < end; ++thread)
      for (int64_t i = next++; i < items; i = next++) f(i, kernel_output<std::byte>(scratch));
  });
}

/// Work under one tile's lists, in tiles; a partial tile costs about what a full one does.
int64_t tiles_listed(const TileLists& lists, int64_t tile) {
  int64_t tiles = lists.partial_offsets[tile + 1] - lists.partial_offsets[tile];
  for (int64_t j = lists.full_offsets[tile]; j < lists.full_offsets[tile + 1]; ++j)
    tiles += lists.full_ranges[2 * j + 1] - lists.full_ranges[2 * j];
  return tiles;
}

/// The visits that tiles of queries pay to tiles of keys.
int64_t visits_of(const BlockMaskRow& row) {
  int64_t visits = 0;
  for (int64_t tile = 0; tile < row.query_tiles(); ++tile)
    visits += tiles_listed(row.by_query, tile);
  return visits;
}

std::vector<int64_t> tiles_as_they_stand(const BlockMaskRow& row) {
  std::vector<int64_t> tiles(row.query_tiles());
  std::iota(tiles.begin(), tiles.end(), 0);
  return tiles;
}

/// The tiles of queries of a row, the costliest first, so that none is left to wait for at the end.
std::vector<int64_t> costliest_first(const BlockMaskRow& row) {
  std::vector<int64_t> tiles = tiles_as_they_stand(row);
  std::stable_sort(tiles.begin(), tiles.end(), [&](int64_t a, int64_t b) {
    return tiles_listed(row.by_query, a) > tiles_listed(row.by_query, b);
  });
  return tiles;
}

/// Cuts a row's key tiles into `parts` runs of about equal work: run p is [result[p],
/// result[p + 1]).
std::vector<int64_t> cut_key_tiles(const BlockMaskRow& row, int64_t parts) {
  std::vector<int64_t> before(row.key_tiles() + 1, 0);
  for (int64_t tile = 0; tile < row.key_tiles(); ++tile)
    before[tile + 1] = before[tile] + tiles_listed(row.by_key, tile);
  std::vector<int64_t> cuts(parts + 1, row.key_tiles());
  cuts[0] = 0;
  for (int64_t part = 1; part < parts; ++part)
    cuts[part] = std::lower_bound(before.begin(), before.end(), before.back() * part / parts) -
                 before.begin();
  return cuts;
}

/// The sizes that q [batch, queries, heads, head_dim], k and v have between them.
struct Sizes {
  Sizes(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v)
      : batch(q.size(0)),
        queries(q.size(1)),
        keys(k.size(1)),
        heads(q.size(2)),
        kv_heads(k.size(2)),
        head_dim(q.size(3)),
        value_dim(v.size(3)) {}

  int64_t group() const { return heads / kv_heads; }

  int64_t batch, queries, keys, heads, kv_heads, head_dim, value_dim;
};

/// The operand of one head of a contiguous [batch, tokens, heads, dim] tensor.
template <class T>
AttentionOperand<const T> head_of(const at::Tensor& x, int64_t row, int64_t head) {
  const int64_t stride = x.size(2) * x.size(3);
  return {kernel_input<T>(x) + row * x.size(1) * stride + head * x.size(3), stride};
}
template <class T>
AttentionOperand<T> output_head_of(const at::Tensor& x, int64_t row, int64_t head) {
  const int64_t stride = x.size(2) * x.size(3);
  return {kernel_output<T>(x) + row * x.size(1) * stride + head * x.size(3), stride};
}

template <class T>
at::TensorOptions compute_options(const at::Tensor& x) {
  return x.options().dtype(std::is_same_v<T, double> ? at::kDouble : at::kFloat);
}

/// x [batch, tokens, heads, dim] as the kernels read keys and values, head by head.
template <class T>
class PackedHeads {
 public:
  PackedHeads(const at::Tensor& x, decltype(CpuAttentionKernels<T>::pack_keys) pack)
      : heads_(x.size(2)),
        bytes_((cpu_attention_kernels<T>().packed_bytes(x.size(1), x.size(3)) + 63) / 64 * 64),
        memory_(at::empty({x.size(0) * heads_ * bytes_}, at::TensorOptions().dtype(at::kByte))) {
    for_each_item(x.size(0) * heads_, {}, [&](int64_t i, std::byte* /*scratch*/) {
      pack(head_of<T>(x, i / heads_, i % heads_), x.size(1), x.size(3),
           kernel_output<std::byte>(memory_) + i * bytes_);
    });
  }
  const std::byte* head(int64_t row, int64_t head) const {
    return kernel_input<std::byte>(memory_) + (row * heads_ + head) * bytes_;
  }

 private:
  int64_t heads_;
  int64_t bytes_;
  at::Tensor memory_;
};

/// Whether each tile of keys is visited so often that packing it anew for a visit would cost more
/// than going through memory once more: a tile's product costs about ten times its packing.
bool worth_packing_ahead(const BlockMask& mask, int64_t group) {
  constexpr int64_t kVisitsThatPay = 8;
  int64_t visits = 0, tiles = 0;
  for (int64_t row = 0; row < mask.batch_size(); ++row) {
    visits += visits_of(mask.row(row)) * group;
    tiles += mask.row(row).key_tiles();
  }
  return visits > kVisitsThatPay * tiles;
}

/// Some tiles of queries of one head, [tile_begin, tile_end) of the order that its row's have.
struct ForwardItem {
  int64_t row;
  int64_t head;
  int64_t tile_begin;
  int64_t tile_end;
};

/// Forward's work in its order. Where keys are packed ahead, head after head, tile by tile, the
/// costliest first. Where they are not, a few neighbouring tiles at once, which find packed what
/// those before them have seen, for head after head: a token's heads stand in the same pages of
/// memory, which are then looked up once for all.
class ForwardItems {
 public:
  ForwardItems(const BlockMask& mask, const Sizes& sizes, bool packed_ahead)
      : heads_(sizes.heads), packed_ahead_(packed_ahead), step_(packed_ahead ? 1 : kNeighbours) {
    for (int64_t row = 0; row < sizes.batch; ++row) {
      const bool repeated = row > 0 && mask.shared_row(row) == mask.shared_row(row - 1);
      order_.push_back(repeated       ? order_.back()
                       : packed_ahead ? costliest_first(mask.row(row))
                                      : tiles_as_they_stand(mask.row(row)));
    }
    if (!order_.empty()) tiles_ = static_cast<int64_t>(order_[0].size());
    steps_ = (tiles_ + step_ - 1) / step_;
  }

  int64_t count() const { return static_cast<int64_t>(order_.size()) * heads_ * steps_; }
  ForwardItem operator[](int64_t i) const {
    const int64_t row = i / (heads_ * steps_);
    const int64_t in_row = i % (heads_ * steps_);
    const int64_t head = packed_ahead_ ? in_row / steps_ : in_row % heads_;
    const int64_t begin = (packed_ahead_ ? in_row % steps_ : in_row / heads_) * step_;
    return {row, head, begin, std::min(begin + step_, tiles_)};
  }
  /// The tile of queries that stands at `place` in a row's order.
  int64_t tile(int64_t row, int64_t place) const { return order_[row][place]; }

 private:
  static constexpr int64_t kNeighbours = 4;

  int64_t heads_;
  bool packed_ahead_;
  int64_t step_;
  int64_t tiles_ = 0;
  int64_t steps_ = 0;
  std::vector<std::vector<int64_t>> order_;
};

template <class T>
std::tuple<at::Tensor, at::Tensor> forward(const at::Tensor& q, const at::Tensor& k,
                                           const at::Tensor& v, const BlockMask& mask,
                                           double scale) {
  using C = AttentionCompute<T>;
  const Sizes sizes(q, k, v);
  at::Tensor out =
      at::empty({sizes.batch, sizes.queries, sizes.heads, sizes.value_dim}, q.options());
  at::Tensor lse = at::empty({sizes.batch, sizes.heads, sizes.queries}, compute_options<T>(q));
  const bool packs_ahead = worth_packing_ahead(mask, sizes.group());
  std::optional<PackedHeads<T>> packed_k;
  std::optional<PackedHeads<T>> packed_v;
  Scratch scratch;
  if (packs_ahead) {
    packed_k.emplace(k, cpu_attention_kernels<T>().pack_keys);
    packed_v.emplace(v, cpu_attention_kernels<T>().pack_values);
  } else if (sizes.batch > 0) {
    scratch.zeros = kForwardScratchZeros;
    scratch.bytes = cpu_attention_kernels<T>().forward_scratch_bytes(mask.row(0), sizes.head_dim,
                                                                     sizes.value_dim);
  }
  const ForwardItems items(mask, sizes, packs_ahead);
  for_each_item(items.count(), scratch, [&](int64_t i, std::byte* memory) {
    const auto [row, head, tile_begin, tile_end] = items[i];
    const int64_t kv_head = head / sizes.group();
    AttentionForward<T> work;
    work.mask = &mask.row(row);
    work.head_dim = sizes.head_dim;
    work.value_dim = sizes.value_dim;
    work.scale = static_cast<C>(scale);
    work.q = head_of<T>(q, row, head);
    work.k = head_of<T>(k, row, kv_head);
    work.v = head_of<T>(v, row, kv_head);
    if (packs_ahead) {
      work.packed_k = packed_k->head(row, kv_head);
      work.packed_v = packed_v->head(row, kv_head);
    }
    work.out = output_head_of<T>(out, row, head);
    work.lse = kernel_output<C>(lse) + (row * sizes.heads + head) * sizes.queries;
    work.scratch = memory;
    work.key_head = row * sizes.kv_heads + kv_head;
    for (int64_t place = tile_begin; place < tile_end; ++place) {
      work.query_tile = items.tile(row, place);
      work.next_query_tile = place + 1 < tile_end ? items.tile(row, place + 1) : -1;
      cpu_attention_kernels<T>().forward(work);
    }
  });
  return {out, lse};
}

/// Parts that the keys of one head are cut into, so that all threads have work where there are few
/// heads: about two units a thread. Each part has a grad_q of its own, so they are at most eight.
int64_t parts_of_a_head(int64_t units, int64_t key_tiles) {
  constexpr int64_t kMostParts = 8;
  if (units == 0 || key_tiles == 0) return 1;
  const int64_t wanted = (2 * at::get_num_threads() + units - 1) / units;
  return std::clamp<int64_t>(wanted, 1, std::min(kMostParts, key_tiles));
}

/// Heads of keys, or parts of them, are worked on side by side; parts' shares of grad_q are added
/// up afterwards, in order. So results depend on the number of threads, but not on their timing.
template <class T>
variable_list backward(const at::Tensor& grad_out, const at::Tensor& q, const at::Tensor& k,
                       const at::Tensor& v, const at::Tensor& out, const at::Tensor& lse,
                       const BlockMask& mask, double scale) {
  using C = AttentionCompute<T>;
  const Sizes sizes(q, k, v);
  const int64_t units = sizes.batch * sizes.kv_heads;
  const int64_t key_tiles = sizes.batch == 0 ? 0 : mask.row(0).key_tiles();
  const int64_t parts = parts_of_a_head(units, key_tiles);
  at::Tensor grad_q = at::empty({parts, sizes.batch, sizes.queries, sizes.heads, sizes.head_dim},
                                compute_options<T>(q));
  at::Tensor grad_k = at::empty_like(k);
  at::Tensor grad_v = at::empty_like(v);
  std::vector<std::vector<int64_t>> cuts;
  for (int64_t row = 0; row < sizes.batch; ++row)
    cuts.push_back(cut_key_tiles(mask.row(row), parts));
  Scratch scratch;
  if (units > 0)
    scratch.bytes = cpu_attention_kernels<T>().backward_scratch_bytes(mask.row(0), sizes.head_dim,
                                                                      sizes.value_dim);
  for_each_item(units * parts, scratch, [&](int64_t i, std::byte* memory) {
    const int64_t part = i % parts;
    const int64_t row = i / parts / sizes.kv_heads;
    const int64_t kv_head = i / parts % sizes.kv_heads;
    const int64_t head = kv_head * sizes.group();
    AttentionBackward<T> work;
    work.mask = &mask.row(row);
    work.key_tile_begin = cuts[row][part];
    work.key_tile_end = cuts[row][part + 1];
    work.heads = sizes.group();
    work.head_dim = sizes.head_dim;
    work.value_dim = sizes.value_dim;
    work.scale = static_cast<C>(scale);
    work.q = head_of<T>(q, row, head);
    work.k = head_of<T>(k, row, kv_head);
    work.v = head_of<T>(v, row, kv_head);
    work.out = head_of<T>(out, row, head);
    work.grad_out = head_of<T>(grad_out, row, head);
    work.lse = kernel_input<C>(lse) + (row * sizes.heads + head) * sizes.queries;
    work.grad_q = output_head_of<C>(grad_q.select(0, part), row, head);
    work.grad_k = output_head_of<T>(grad_k, row, kv_head);
    work.grad_v = output_head_of<T>(grad_v, row, kv_head);
    work.scratch = memory;
    cpu_attention_kernels<T>().backward(work);
  });
  grad_q = parts == 1 ? grad_q.select(0, 0) : grad_q.sum(0);
  return {grad_q.to(q.scalar_type()), grad_k, grad_v};
}

/// Calls f<T>() with the kernels' name of the tensor's element type.
template <class F>
auto with_attention_type(const at::Tensor& x, F&& f) {
  if (x.scalar_type() == at::kDouble) return f.template operator()<double>();
  return with_kernel_type(x, std::forward<F>(f));
}

AttentionPart forward_on_device(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                const BlockMask& mask, double scale) {
  if (!q.device().is_cpu())
    return device_attention(q.device().type())->forward(q, k, v, mask, scale);
  auto [out, lse] = with_attention_type(q, [&]<class T>() {
    return forward<T>(q.contiguous(), k.contiguous(), v.contiguous(), mask, scale);
  });
  return {out, lse};
}

AttentionGradients backward_on_device(const at::Tensor& grad_out, const at::Tensor& q,
                                      const at::Tensor& k, const at::Tensor& v,
                                      const at::Tensor& out, const at::Tensor& lse,
                                      const BlockMask& mask, double scale) {
  if (!q.device().is_cpu())
    return device_attention(q.device().type())->backward(grad_out, q, k, v, out, lse, mask, scale);
  const variable_list grads = with_attention_type(q, [&]<class T>() {
    return backward<T>(grad_out.contiguous(), q.contiguous(), k.contiguous(), v.contiguous(),
                       out.contiguous(), lse.contiguous(), mask, scale);
  });
  return {grads[0], grads[1], grads[2]};
}

/// As the CPU's kernels read it, so that backward need not copy it again; devices read strides.
at::Tensor as_saved(const at::Tensor& x) { return x.device().is_cpu() ? x.contiguous() : x; }

class BlockSparseAttention : public torch::autograd::Function<BlockSparseAttention> {
 public:
  static variable_list forward(AutogradContext* context, const at::Tensor& q_in,
                               const at::Tensor& k_in, const at::Tensor& v_in,
                               const BlockMask& mask, double scale) {
    const at::Tensor q = as_saved(q_in), k = as_saved(k_in), v = as_saved(v_in);
    const variable_list results = kept_or_computed([&] {
      const AttentionPart whole = forward_on_device(q, k, v, mask, scale);
      return variable_list{whole.out, whole.lse};
    });
    const at::Tensor &out = results[0], &lse = results[1];
    context->save_for_backward({q, k, v, out, lse});
    context->saved_data["mask"] = at::IValue::make_capsule(c10::make_intrusive<SavedMask>(mask));
    context->saved_data["scale"] = scale;
    context->mark_non_differentiable({lse});
    return {out, lse};
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    COEUS_CHECK(!at::GradMode::is_enabled(),
                "[attention] the engine block_sparse has no second derivative; use engine "
                "reference");
    const variable_list saved = context->get_saved_variables();
    const at::IValue capsule = context->saved_data["mask"];
    const auto& mask = static_cast<const SavedMask&>(*capsule.toCapsule()).mask;
    const double scale = context->saved_data["scale"].toDouble();
    const AttentionGradients gradients =
        backward_on_device(grads[0], saved[0], saved[1], saved[2], saved[3], saved[4], mask, scale);
    variable_list result = {gradients.q, gradients.k, gradients.v};
    result.resize(5);
    return result;
  }
};

void check_kernel(const at::Tensor& q, const at::Tensor& v) {
  const std::string refusal = block_sparse_refusal(q, v);
  COEUS_CHECK(refusal.empty(), "[attention] the engine block_sparse takes {}; use engine reference",
              refusal);
}

}  // namespace

std::string block_sparse_refusal(const at::Tensor& q, const at::Tensor& v) {
  if (!q.device().is_cpu()) {
    const DeviceAttention* const attention = device_attention(q.device().type());
    return attention == nullptr
               ? fmt::format("tensors of the CPU and of CUDA where it is loaded, got {} on {}",
                             c10::toString(q.scalar_type()), q.device().str())
               : attention->refusal(q, v);
  }
  if (q.size(3) > kWidestHead || v.size(3) > kWidestHead)
    return fmt::format("head dims up to {}, got {} and {}", kWidestHead, q.size(3), v.size(3));
  if (!has_cpu_kernel(q) && q.scalar_type() != at::kDouble)
    return fmt::format("float32, bfloat16 and double on the CPU, got {} on {}",
                       c10::toString(q.scalar_type()), q.device().str());
  return "";
}

AttentionPart block_sparse_part(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                const BlockMask& mask, double scale) {
  check_kernel(q, v);
  return forward_on_device(q, k, v, mask, scale);
}

AttentionGradients block_sparse_part_backward(const at::Tensor& grad_out, const at::Tensor& q,
                                              const at::Tensor& k, const at::Tensor& v,
                                              const at::Tensor& out, const at::Tensor& lse,
                                              const BlockMask& mask, double scale) {
  return backward_on_device(grad_out, q, k, v, out, lse, mask, scale);
}

std::tuple<at::Tensor, at::Tensor> attention_block_sparse_with_lse(const at::Tensor& q,
                                                                   const at::Tensor& k,
                                                                   const at::Tensor& v,
                                                                   const BlockMask& mask,
                                                                   double scale) {
  check_kernel(q, v);
  const variable_list results = BlockSparseAttention::apply(q, k, v, mask, scale);
  return {results[0], results[1]};
}

at::Tensor attention_block_sparse(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                  const BlockMask& mask, double scale) {
  return std::get<0>(attention_block_sparse_with_lse(q, k, v, mask, scale));
}

}  // namespace coeus
