#include "exact_attention.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <thread>
#include <vector>

namespace coeus::cuda {

namespace {

/// The row's attention and its gradients, by their definition. `grad_k` and `grad_v` have an entry
/// for each head, [heads, keys, dim].
void attend_head(const AttentionShape& s, float scale, const std::vector<uint8_t>& sees,
                 const ExactInputs& in, int head, Exact& r, std::vector<double>& grad_k,
                 std::vector<double>& grad_v) {
  const int kv_head = head / (s.heads / s.kv_heads);
  const int dim = s.head_dim;
  const int value_dim = s.value_dim;
  std::vector<double> weight(s.keys), grad_weight(s.keys);
  const auto row_of = [](const std::vector<float>& x, int64_t token, int heads, int of, int size) {
    return x.data() + (token * heads + of) * size;
  };
  for (int i = 0; i < s.queries; ++i) {
    const uint8_t* const seen = sees.data() + int64_t{i} * s.keys;
    const float* const q = row_of(in.q, i, s.heads, head, dim);
    const float* const grad_out = row_of(in.grad_out, i, s.heads, head, value_dim);
    double largest = -std::numeric_limits<double>::infinity();
    for (int j = 0; j < s.keys; ++j) {
      if (seen[j] == 0) continue;
      const float* const k = row_of(in.k, j, s.kv_heads, kv_head, dim);
      double score = 0;
      for (int d = 0; d < dim; ++d) score += double{q[d]} * k[d];
      weight[j] = score * scale;
      largest = std::max(largest, weight[j]);
    }
    double sum = 0;
    for (int j = 0; j < s.keys; ++j) {
      if (seen[j] == 0) continue;
      weight[j] = std::exp(weight[j] - largest);
      sum += weight[j];
    }
    r.lse[int64_t{head} * s.queries + i] = largest + std::log(sum);
    double* const out = r.out.data() + (int64_t{i} * s.heads + head) * value_dim;
    double* const grad_q = r.grad_q.data() + (int64_t{i} * s.heads + head) * dim;
    double delta = 0;
    for (int j = 0; j < s.keys; ++j) {
      if (seen[j] == 0) continue;
      weight[j] /= sum;
      const float* const v = row_of(in.v, j, s.kv_heads, kv_head, value_dim);
      double* const to = grad_v.data() + (int64_t{head} * s.keys + j) * value_dim;
      double grad = 0;
      for (int d = 0; d < value_dim; ++d) {
        out[d] += weight[j] * v[d];
        grad += double{grad_out[d]} * v[d];
        to[d] += weight[j] * grad_out[d];
      }
      grad_weight[j] = grad;
      delta += weight[j] * grad;
    }
    for (int j = 0; j < s.keys; ++j) {
      if (seen[j] == 0) continue;
      const double grad = weight[j] * (grad_weight[j] - delta) * scale;
      const float* const k = row_of(in.k, j, s.kv_heads, kv_head, dim);
      double* const to = grad_k.data() + (int64_t{head} * s.keys + j) * dim;
      for (int d = 0; d < dim; ++d) {
        grad_q[d] += grad * k[d];
        to[d] += grad * q[d];
      }
    }
  }
}

/// Sums [heads, keys, dim] over heads that share a key head, into [keys, kv_heads, dim].
std::vector<double> sum_heads(const std::vector<double>& x, const AttentionShape& s, int dim) {
  std::vector<double> sum(int64_t{s.keys} * s.kv_heads * dim);
  const int shared_by = s.heads / s.kv_heads;
  for (int head = 0; head < s.heads; ++head) {
    for (int64_t j = 0; j < s.keys; ++j) {
      for (int d = 0; d < dim; ++d) {
        sum[(j * s.kv_heads + head / shared_by) * dim + d] +=
            x[(int64_t{head} * s.keys + j) * dim + d];
      }
    }
  }
  return sum;
}

}  // namespace

Exact attend_exactly(const AttentionShape& s, float scale, const std::vector<uint8_t>& sees,
                     const ExactInputs& in) {
  Exact r;
  r.out.resize(int64_t{s.queries} * s.heads * s.value_dim);
  r.lse.resize(int64_t{s.heads} * s.queries);
  r.grad_q.resize(int64_t{s.queries} * s.heads * s.head_dim);
  std::vector<double> grad_k(int64_t{s.heads} * s.keys * s.head_dim);
  std::vector<double> grad_v(int64_t{s.heads} * s.keys * s.value_dim);
  std::vector<std::thread> threads;
  for (int head = 0; head < s.heads; ++head) {
    threads.emplace_back([&, head] { attend_head(s, scale, sees, in, head, r, grad_k, grad_v); });
  }
  for (std::thread& thread : threads) thread.join();
  r.grad_k = sum_heads(grad_k, s, s.head_dim);
  r.grad_v = sum_heads(grad_v, s, s.value_dim);
  return r;
}

}  // namespace coeus::cuda
