#include "problem.h"

#include <cstdint>

namespace coeus::cuda {

Inputs make_inputs(Arena& arena, const Problem& p) {
  const AttentionShape& s = p.shape;
  return {make_tensor(arena, p.type, s.batch, s.queries, s.heads, s.head_dim, p.layout),
          make_tensor(arena, p.type, s.batch, s.keys, s.kv_heads, s.head_dim, p.layout),
          make_tensor(arena, p.type, s.batch, s.keys, s.kv_heads, s.value_dim, p.layout),
          make_tensor(arena, p.type, s.batch, s.queries, s.heads, s.value_dim, p.layout)};
}

int64_t lse_count(const AttentionShape& s) { return int64_t{s.batch} * s.heads * s.queries; }

Results make_results(Arena& arena, const Problem& p) {
  const AttentionShape& s = p.shape;
  return {make_tensor(arena, p.type, s.batch, s.queries, s.heads, s.value_dim, p.layout),
          make_tensor(arena, p.type, s.batch, s.queries, s.heads, s.head_dim, p.layout),
          make_tensor(arena, p.type, s.batch, s.keys, s.kv_heads, s.head_dim, p.layout),
          make_tensor(arena, p.type, s.batch, s.keys, s.kv_heads, s.value_dim, p.layout),
          arena.take_array<float>(lse_count(s))};
}

namespace {

/// What forward and backward are told alike.
template <class Work>
Work work_on(const Problem& p, const Inputs& in) {
  Work work;
  work.shape = p.shape;
  work.type = p.type;
  work.scale = p.scale;
  work.mask = p.mask;
  work.q = in.q.view;
  work.k = in.k.view;
  work.v = in.v.view;
  return work;
}

}  // namespace

AttentionForward forward_of(const Problem& p, const Inputs& in, const Results& r, int* counter) {
  auto work = work_on<AttentionForward>(p, in);
  work.out = r.out.view;
  work.lse = r.lse;
  work.counter = counter;
  return work;
}

AttentionBackward backward_of(const Problem& p, const Inputs& in, const Results& forward,
                              const Results& r, void* scratch) {
  auto work = work_on<AttentionBackward>(p, in);
  work.deterministic = p.deterministic;
  work.out = forward.out.view;
  work.grad_out = in.grad_out.view;
  work.lse = forward.lse;
  work.grad_q = r.grad_q.view;
  work.grad_k = r.grad_k.view;
  work.grad_v = r.grad_v.view;
  work.scratch = scratch;
  return work;
}

}  // namespace coeus::cuda
