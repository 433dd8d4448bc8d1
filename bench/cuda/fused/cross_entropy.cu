#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "checks.h"
#include "coeus/base/ignored_label.h"
#include "coeus/kernels/cuda/cross_entropy.h"
#include "device_check.h"
#include "device_time.h"

namespace coeus::cuda {

namespace {

template <class T>
void check_cross_entropy(Report& forward, Report& backward, Report& both, int64_t rows, int vocab,
                         int offset, double deviation) {
  const std::string what = text("%s, rows %lld, vocab %d, offset %d, deviation %g", kTypeName<T>,
                                static_cast<long long>(rows), vocab, offset, deviation);
  std::vector<T> logits = normal<T>(rows * vocab, deviation, deviation > 100 ? 500 : 0);
  std::vector<int64_t> labels(rows);
  for (int64_t& label : labels) label = static_cast<int64_t>(random_bits() % vocab);
  labels.back() = vocab - 1;
  const bool bad = rows > 6;
  if (rows > 2) labels[1] = kIgnoredLabel;
  if (bad) {
    labels[2] = vocab;
    labels[3] = -1;
    // A row that begins with -inf, and one that holds no number.
    for (int i = 0; i < vocab - 1; ++i) logits[4 * vocab + i] = narrow<T>(-INFINITY);
    labels[4] = vocab - 1;
    logits[5 * vocab + vocab / 2] = narrow<T>(NAN);
  }
  const float scale = 1.F / 64;
  std::vector<double> lse(rows), losses(rows), grad(logits.size());
  for (int64_t r = 0; r < rows; ++r) {
    const T* const row = logits.data() + r * vocab;
    const int64_t label = labels[r];
    if (label == kIgnoredLabel) continue;
    if (label < 0 || label >= vocab) {
      lse[r] = losses[r] = NAN;
    } else {
      double largest = -INFINITY, sum = 0;
      for (int i = 0; i < vocab; ++i) largest = std::max(largest, value(row[i]));
      for (int i = 0; i < vocab; ++i) sum += std::exp(value(row[i]) - largest);
      lse[r] = largest + std::log(sum);
      losses[r] = lse[r] - value(row[label]);
    }
    for (int i = 0; i < vocab; ++i)
      grad[r * vocab + i] = (std::exp(value(row[i]) - lse[r]) - (i == label ? 1 : 0)) * scale;
  }
  // Float32 holds lse to 2^-24 of itself, and gradients no better.
  const double of_lse = 3e-7 * (10 + 2 * deviation * 5 + (deviation > 100 ? 500 : 0));
  const auto absolute_lse = [&](size_t) { return of_lse; };
  const double rounding = kRounding<T> + 2 * of_lse;
  // p - 1 may be next to nothing; and float16 has no smaller steps than 2^-24.
  const auto absolute_grad = [&](size_t i) {
    const bool of_label = static_cast<int64_t>(i % vocab) == labels[i / vocab];
    return (of_label ? scale * of_lse : 1e-37) + (std::is_same_v<T, Half> ? 3e-8 : 0);
  };

  const Device<T> device_logits(logits, offset), device_grad(logits.size(), offset),
      in_place(logits, offset), chunk(logits, offset), elsewhere(logits.size(), offset + 1);
  const Device<int64_t> device_labels(labels);
  const Device<float> device_lse(rows), device_losses(rows), chunk_losses(rows), sum(1);
  const Device<float> device_scale(std::vector<float>{scale});
  const Device<int> flag(std::vector<int>{0}), chunk_flag(std::vector<int>{0});
  const CrossEntropyRows work{kType<T>, device_logits.get(), device_labels.get(), rows, vocab};
  cross_entropy_forward({work, device_lse.get(), device_losses.get(), flag.get()}, nullptr);
  cross_entropy_sum(device_losses.get(), rows, sum.get(), nullptr);
  const CrossEntropyRows over{kType<T>, in_place.get(), device_labels.get(), rows, vocab};
  cross_entropy_backward({work, device_lse.get(), device_scale.get(), device_grad.get()}, nullptr);
  cross_entropy_backward({work, device_lse.get(), device_scale.get(), elsewhere.get()}, nullptr);
  cross_entropy_backward({over, device_lse.get(), device_scale.get(), in_place.get()}, nullptr);
  cross_entropy_forward_backward({kType<T>, chunk.get(), device_labels.get(), rows, vocab,
                                  device_scale.get(), chunk_losses.get(), chunk_flag.get()},
                                 nullptr);
  wait();
  compare_within(forward, what + ", lse", device_lse.read(forward, what), lse, 1e-6, absolute_lse);
  const std::vector<float> got_losses = device_losses.read(forward, what);
  compare_within(forward, what + ", loss", got_losses, losses, 1e-6, absolute_lse);
  forward.expect(flag.read(forward, what)[0] == (bad ? 1 : 0), what + ", flag");
  double total = 0;
  for (float loss : got_losses) total += loss;
  const float got_sum = sum.read(forward, what)[0];
  forward.expect(std::isnan(total) ? std::isnan(got_sum)
                                   : std::abs(got_sum - total) <= 2e-7 * std::abs(total) + 1e-30,
                 what + text(", sum %.9g, not %.9g", got_sum, total));

  const std::vector<T> got = device_grad.read(backward, what);
  compare_within(backward, what, got, grad, rounding, absolute_grad);
  backward.expect(same_bits(got, in_place.read(backward, what)), what + ", in place");
  backward.expect(same_bits(got, elsewhere.read(backward, what)), what + ", otherwise aligned");
  compare_within(both, what + ", loss", chunk_losses.read(both, what), losses, 1e-6, absolute_lse);
  compare_within(both, what + ", gradient", chunk.read(both, what), grad, rounding, absolute_grad);
  both.expect(chunk_flag.read(both, what)[0] == (bad ? 1 : 0), what + ", flag");
}

void time_cross_entropy(int64_t rows, int vocab) {
  const int64_t bytes = rows * vocab * 2;
  const Memory logits(bytes), grad(bytes), lse(rows * 4), losses(rows * 4), sum(4);
  std::vector<int64_t> host(rows);
  for (int64_t i = 0; i < rows; ++i) host[i] = i * 7919 % vocab;
  const Device<int64_t> labels(host);
  // 1: gradients become the logits of the next run.
  const Device<float> scale(std::vector<float>{1.F});
  const std::string shape = text(" %lld x %d", static_cast<long long>(rows), vocab);
  const CrossEntropyRows work{ElementType::kBFloat16, logits.get(), labels.get(), rows, vocab};
  time("cross_entropy forward" + shape, 1. * bytes, [&] {
    cross_entropy_forward({work, lse.get<float>(), losses.get<float>()}, nullptr);
  });
  time("cross_entropy backward" + shape, 2. * bytes, [&] {
    cross_entropy_backward({work, lse.get<float>(), scale.get(), grad.get()}, nullptr);
  });
  time("cross_entropy forward_backward" + shape, 2. * bytes, [&] {
    cross_entropy_forward_backward({ElementType::kBFloat16, logits.get(), labels.get(), rows, vocab,
                                    scale.get(), losses.get<float>()},
                                   nullptr);
  });
  time("cross_entropy sum" + shape, 4. * rows,
       [&] { cross_entropy_sum(losses.get<float>(), rows, sum.get<float>(), nullptr); });
}

}  // namespace

void check_cross_entropies() {
  Report forward("cross_entropy_forward"), backward("cross_entropy_backward"),
      both("cross_entropy_forward_backward");
  for (int vocab : {1, 2, 5, 37, 1000, 2048, 32'000, 50'257, 57'000, 128'256, 151'936, 200'003}) {
    check_cross_entropy<BFloat16>(forward, backward, both, 8, vocab, 0, 3);
    check_cross_entropy<float>(forward, backward, both, 8, vocab, 0, 3);
    check_cross_entropy<Half>(forward, backward, both, 7, vocab, 0, 3);
    check_cross_entropy<BFloat16>(forward, backward, both, 1, vocab, 0, 30);
    check_cross_entropy<BFloat16>(forward, backward, both, 9, vocab, 3, 1);
    check_cross_entropy<float>(forward, backward, both, 3, vocab, 1, 200);
  }
  check_cross_entropy<BFloat16>(forward, backward, both, 3000, 500, 0, 3);
}

void time_cross_entropies() {
  time_cross_entropy(16384, 128'256);
  time_cross_entropy(16384, 151'936);
  time_cross_entropy(16384, 32'000);
  time_cross_entropy(65536, 2'048);
}

}  // namespace coeus::cuda
