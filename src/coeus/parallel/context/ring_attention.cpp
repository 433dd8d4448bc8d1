#include "coeus/parallel/context/ring_attention.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>
#include <torch/csrc/distributed/c10d/Work.hpp>

#include <optional>
#include <utility>

#include "coeus/ops/attention_part.h"
#include "coeus/ops/kept_results.h"

namespace coeus {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// What goes round, and on which tag.
enum Tag : int64_t { kKeys = 1, kGradients = 2 };

struct Ring : torch::CustomClassHolder {
  Ring(std::vector<BlockMask> m, AttentionEngine e, double s, ContextRanks r)
      : masks(std::move(m)), engine(e), scale(s), ranks(std::move(r)), counts(ranks.counts()) {}

  int64_t size() const { return ranks.group->size(); }
  int64_t rank() const { return ranks.group->rank(); }
  /// Whose keys are here at a step: first one's own, then those of the rank before …
  int64_t source(int64_t step) const { return (rank() - step + size()) % size(); }
  AttentionEngine engine_for(const at::Tensor& q, const at::Tensor& v,
                             const BlockMask& mask) const {
    return resolve_attention_engine(q, v, mask, engine).engine;
  }

  std::vector<BlockMask> masks;
  AttentionEngine engine;
  double scale;
  ContextRanks ranks;
  std::vector<int64_t> counts;
};
using RingPtr = c10::intrusive_ptr<Ring>;

/// Two tensors [batch, tokens, heads, dim] as one that can be sent, and apart again.
struct Bundle {
  Bundle(const at::Tensor& a, const at::Tensor& b)
      : shape_a(a.sizes().vec()), shape_b(b.sizes().vec()) {}

  at::Tensor joined(const at::Tensor& a, const at::Tensor& b) const {
    return at::cat({a.flatten(), b.flatten()});
  }
  /// Of `tokens` tokens.
  at::Tensor empty(int64_t tokens, const at::TensorOptions& options) const {
    return at::empty({numbers(shape_a, tokens) + numbers(shape_b, tokens)}, options);
  }
  std::pair<at::Tensor, at::Tensor> apart(const at::Tensor& joined, int64_t tokens) const {
    const int64_t of_a = numbers(shape_a, tokens);
    return {joined.narrow(0, 0, of_a).view(with(shape_a, tokens)),
            joined.narrow(0, of_a, numbers(shape_b, tokens)).view(with(shape_b, tokens))};
  }

 private:
  static std::vector<int64_t> with(std::vector<int64_t> shape, int64_t tokens) {
    shape[1] = tokens;
    return shape;
  }
  static int64_t numbers(const std::vector<int64_t>& shape, int64_t tokens) {
    return shape[0] * tokens * shape[2] * shape[3];
  }
  std::vector<int64_t> shape_a, shape_b;
};

/// A bundle on its way to the next rank, while that of the rank before comes.
class Hop {
 public:
  Hop(const Ring& ring, const at::Tensor& sent, const at::Tensor& into, Tag tag) {
    ProcessGroup& group = *ring.ranks.group;
    const char* const what = ring.ranks.what.c_str();
    received_ = group.receive_async(into, (ring.rank() - 1 + ring.size()) % ring.size(), tag, what);
    sent_ = group.send_async(sent, (ring.rank() + 1) % ring.size(), tag, what);
  }
  at::Tensor arrived() {
    sent_.wait();
    return received_.wait();
  }

 private:
  Pending received_;
  Pending sent_;
};

/// Calls f(source, k, v) for every rank's keys, as they come by.
template <class F>
void for_each_source(const Ring& ring, const at::Tensor& k, const at::Tensor& v, F f) {
  const Bundle bundle(k, v);
  at::Tensor here = bundle.joined(k, v);
  for (int64_t step = 0; step < ring.size(); ++step) {
    std::optional<Hop> hop;
    if (step + 1 < ring.size())
      hop.emplace(ring, here, bundle.empty(ring.counts[ring.source(step + 1)], here.options()),
                  kKeys);
    const int64_t source = ring.source(step);
    const auto [source_k, source_v] = bundle.apart(here, ring.counts[source]);
    f(source, source_k, source_v);
    if (hop) here = hop->arrived();
  }
}

variable_list attend(const Ring& ring, const at::Tensor& q, const at::Tensor& k,
                     const at::Tensor& v) {
  AttentionPart sum;
  for_each_source(ring, k, v,
                  [&](int64_t source, const at::Tensor& its_k, const at::Tensor& its_v) {
                    const BlockMask& mask = ring.masks[source];
                    // The own keys first, seen or not, so that there always is a sum.
                    if (mask.area() == 0 && source != ring.rank()) return;
                    sum = merged(sum, attention_part(ring.engine_for(q, its_v, mask), q, its_k,
                                                     its_v, mask, ring.scale));
                  });
  return {sum.out.to(q.scalar_type()), sum.lse};
}

variable_list gradients(const Ring& ring, const at::Tensor& grad_out, const variable_list& saved) {
  const at::Tensor &q = saved[0], &k = saved[1], &v = saved[2], &out = saved[3], &lse = saved[4];
  const auto dtype = lse.scalar_type();
  const Bundle bundle(k, v);
  at::Tensor grad_q = at::zeros_like(q, q.options().dtype(dtype));
  at::Tensor sums;  // of the gradients of the keys that are here, by the ranks where they were
  for_each_source(
      ring, k, v, [&](int64_t source, const at::Tensor& its_k, const at::Tensor& its_v) {
        // The sums follow their keys one step behind, for they are only complete after it.
        std::optional<Hop> hop;
        if (sums.defined())
          hop.emplace(ring, sums, bundle.empty(ring.counts[source], sums.options()), kGradients);
        at::Tensor own;
        const BlockMask& mask = ring.masks[source];
        if (mask.area() == 0) {
          own = bundle.empty(ring.counts[source], its_k.options().dtype(dtype)).zero_();
        } else {
          const AttentionGradients of =
              attention_part_backward(ring.engine_for(q, its_v, mask), grad_out, q, its_k, its_v,
                                      out, lse, mask, ring.scale);
          grad_q.add_(of.q);
          own = bundle.joined(of.k, of.v).to(dtype);
        }
        sums = hop ? hop->arrived().add_(own) : own;
      });
  if (ring.size() > 1)
    sums = Hop(ring, sums, bundle.empty(ring.counts[ring.rank()], sums.options()), kGradients)
               .arrived();
  const auto [grad_k, grad_v] = bundle.apart(sums, ring.counts[ring.rank()]);
  return {grad_q.to(q.scalar_type()), grad_k.to(k.scalar_type()), grad_v.to(v.scalar_type())};
}

class RingAttention : public torch::autograd::Function<RingAttention> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& v, const RingPtr& ring) {
    const at::NoGradGuard no_grad;
    const variable_list results = kept_or_computed([&] { return attend(*ring, q, k, v); });
    context->save_for_backward({q, k, v, results[0], results[1]});
    context->saved_data["ring"] = at::IValue::make_capsule(ring);
    return results[0];
  }
  static variable_list backward(AutogradContext* context, variable_list grads) {
    const at::NoGradGuard no_grad;
    const auto ring =
        c10::static_intrusive_pointer_cast<Ring>(context->saved_data["ring"].toCapsule());
    variable_list of = gradients(*ring, grads[0].contiguous(), context->get_saved_variables());
    of.emplace_back();
    return of;
  }
};

}  // namespace

at::Tensor ring_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const std::vector<BlockMask>& masks, AttentionEngine engine, double scale,
                          const ContextRanks& ranks) {
  return RingAttention::apply(q, k, v, c10::make_intrusive<Ring>(masks, engine, scale, ranks));
}

}  // namespace coeus
