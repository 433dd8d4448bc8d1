#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "checks.h"
#include "coeus/kernels/cuda/rope.h"
#include "device_check.h"
#include "device_time.h"

namespace coeus::cuda {

namespace {

template <class T>
void check_rope(Report& report, int64_t tokens, int heads, int key_heads, int dim, bool halves,
                float sign, int padding, bool in_place) {
  const int positions = 97;
  std::vector<float> table(static_cast<size_t>(positions) * dim);
  for (size_t i = 0; i < table.size() / 2; ++i) {
    table[2 * i] = std::cos(0.37F * static_cast<float>(i));
    table[2 * i + 1] = std::sin(0.37F * static_cast<float>(i));
  }
  std::vector<int32_t> at(tokens);
  for (int32_t& p : at) p = static_cast<int32_t>(random_bits() % positions);
  const bool bad = tokens > 3;
  if (bad) {
    at[1] = -1;
    at[2] = positions;
  }
  const Device<float> device_table(table);
  const Device<int32_t> device_positions(at);
  const Device<int> flag(std::vector<int>{0});
  Rope work{.type = kType<T>,
            .halves = halves,
            .sign = sign,
            .head_dim = dim,
            .tokens = tokens,
            .table = device_table.get(),
            .table_positions = positions,
            .positions = device_positions.get(),
            .bad_position = flag.get()};
  const int head_counts[2] = {heads, key_heads};
  const int64_t head_stride = dim + padding;
  const int64_t token_strides[2] = {heads * head_stride + 2 * padding,
                                    key_heads * head_stride + 2 * padding};
  std::vector<T> in[2];
  std::vector<double> want[2];
  for (int t = 0; t < 2; ++t) {
    const int64_t token_stride = token_strides[t];
    in[t] = normal<T>(tokens * token_stride);
    // What lies between heads must stay.
    for (const T& x : in[t]) want[t].push_back(value(x));
    for (int64_t token = 0; token < tokens; ++token)
      for (int h = 0; h < head_counts[t]; ++h)
        for (int i = 0; i < dim / 2; ++i) {
          double* const head = want[t].data() + token * token_stride + h * head_stride;
          double& a = halves ? head[i] : head[2 * i];
          double& b = halves ? head[i + dim / 2] : head[2 * i + 1];
          const int p = at[token];
          const bool outside = p < 0 || p >= positions;
          const double c = outside ? NAN : table[static_cast<size_t>(p) * dim + 2 * i];
          const double s = outside ? NAN : sign * table[static_cast<size_t>(p) * dim + 2 * i + 1];
          const double turned = a * c - b * s;
          b = a * s + b * c;
          a = turned;
        }
  }
  const Device<T> x0(in[0]), x1(in[1]), out0(in[0]), out1(in[1]);
  const Device<T>* const x[2] = {&x0, &x1};
  const Device<T>* const out[2] = {in_place ? &x0 : &out0, in_place ? &x1 : &out1};
  for (int t = 0; t < 2; ++t) {
    work.tensors[t] = {.x = x[t]->get(),
                       .x_token_stride = token_strides[t],
                       .x_head_stride = head_stride,
                       .out = out[t]->get(),
                       .out_token_stride = token_strides[t],
                       .out_head_stride = head_stride,
                       .heads = head_counts[t]};
  }
  rope(work, nullptr);
  wait();
  const std::string what =
      text("%s, tokens %lld, heads %d and %d, dim %d, %s, sign %g, padding %d%s", kTypeName<T>,
           static_cast<long long>(tokens), heads, key_heads, dim, halves ? "halves" : "interleaved",
           sign, padding, in_place ? ", in place" : "");
  for (int t = 0; t < 2; ++t)
    compare(report, what + text(", tensor %d", t), out[t]->read(report, what), want[t], 1e-6);
  report.expect(flag.read(report, what)[0] == (bad ? 1 : 0), what + ", flag");
}

void time_rope(bool halves) {
  const int64_t tokens = 16384, dim = 128, positions = 4096;
  const Memory q(tokens * 32 * dim * 2), k(tokens * 8 * dim * 2), q_out(tokens * 32 * dim * 2),
      k_out(tokens * 8 * dim * 2), table(positions * dim * 4, false);
  std::vector<int32_t> host(tokens);
  for (int64_t i = 0; i < tokens; ++i) host[i] = static_cast<int32_t>(i % positions);
  const Device<int32_t> at(host);
  Rope work{.halves = halves,
            .head_dim = dim,
            .tokens = tokens,
            .table = table.get<float>(),
            .table_positions = positions,
            .positions = at.get()};
  work.tensors[0] = {q.get(), 32 * dim, dim, q_out.get(), 32 * dim, dim, 32};
  const std::string pairs = halves ? ", halves" : ", interleaved";
  time("rope 16384 x 32 x 128" + pairs, 2. * tokens * 32 * dim * 2, [&] { rope(work, nullptr); });
  work.tensors[1] = {k.get(), 8 * dim, dim, k_out.get(), 8 * dim, dim, 8};
  time("rope 16384 x (32 and 8) x 128" + pairs, 2. * tokens * 40 * dim * 2,
       [&] { rope(work, nullptr); });
}

}  // namespace

void check_ropes() {
  Report report("rope");
  for (bool halves : {false, true})
    for (int dim : {2, 6, 8, 16, 64, 80, 96, 128, 256, 576})
      for (auto [heads, key_heads] : {std::pair{1, 0}, {3, 2}, {32, 8}, {128, 1}})
        for (int padding : {0, 1, 16}) {
          const float sign = (dim + heads) % 3 == 0 ? -1.F : 1.F;
          check_rope<BFloat16>(report, 7, heads, key_heads, dim, halves, sign, padding, false);
          if (heads == 128) continue;
          check_rope<float>(report, 1, heads, key_heads, dim, halves, -sign, padding, true);
          check_rope<Half>(report, 33, heads, key_heads, dim, halves, sign, padding, true);
        }
}

void time_ropes() {
  time_rope(false);
  time_rope(true);
}

}  // namespace coeus::cuda
