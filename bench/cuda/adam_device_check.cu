// Holds Adam's and AdamW's updates and the gradients' squared norms on a GPU to the CPU's in
// float64: every type, sizes around a block's piece, addresses that are no multiple of 16, more
// tensors than one launch takes, scaled gradients, and an update that is to be skipped. With --time
// also measures both over the parameters of a Llama 3 of 1B. Ends with 1 when anything is off.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "coeus/kernels/cuda/adam.h"
#include "coeus/kernels/cuda/check.h"

namespace coeus::cuda {
namespace {

int failures = 0;

void expect(bool holds, const std::string& what) {
  if (holds) return;
  ++failures;
  std::printf("FAILED: %s\n", what.c_str());
}

const char* name_of(ElementType type) {
  return type == ElementType::kFloat32    ? "float32"
         : type == ElementType::kBFloat16 ? "bfloat16"
                                          : "float16";
}
int64_t bytes_of(ElementType type) { return type == ElementType::kFloat32 ? 4 : 2; }
/// Half a unit in the last place of 1.
double rounding_of(ElementType type) {
  return type == ElementType::kFloat32    ? 0x1p-24
         : type == ElementType::kBFloat16 ? 0x1p-8
                                          : 0x1p-11;
}

void put(ElementType type, float value, unsigned char* at) {
  if (type == ElementType::kFloat32) std::memcpy(at, &value, 4);
  const __nv_bfloat16 brain = __float2bfloat16(value);
  const __half half = __float2half(value);
  if (type == ElementType::kBFloat16) std::memcpy(at, &brain, 2);
  if (type == ElementType::kFloat16) std::memcpy(at, &half, 2);
}
double get(ElementType type, const unsigned char* at) {
  float value = 0;
  __nv_bfloat16 brain;
  __half half;
  if (type == ElementType::kFloat32) std::memcpy(&value, at, 4);
  if (type == ElementType::kBFloat16) {
    std::memcpy(&brain, at, 2);
    value = __bfloat162float(brain);
  }
  if (type == ElementType::kFloat16) {
    std::memcpy(&half, at, 2);
    value = __half2float(half);
  }
  return value;
}

/// Values on the GPU, `offset` elements after a multiple of 256 bytes.
class Values {
 public:
  Values(ElementType type, int64_t size, int offset) : type_(type), size_(size), offset_(offset) {
    check(cudaMalloc(&memory_, std::max<int64_t>(1, (size + offset) * bytes_of(type))),
          "cudaMalloc");
  }
  Values(const Values&) = delete;
  Values(Values&& other) noexcept
      : type_(other.type_),
        size_(other.size_),
        offset_(other.offset_),
        memory_(std::exchange(other.memory_, nullptr)) {}
  ~Values() { cudaFree(memory_); }

  void* data() const { return memory_ + offset_ * bytes_of(type_); }
  int64_t size() const { return size_; }

  void write(const std::vector<double>& values) const {
    std::vector<unsigned char> host(size_ * bytes_of(type_));
    for (int64_t i = 0; i < size_; ++i)
      put(type_, static_cast<float>(values[i]), &host[i * bytes_of(type_)]);
    check(cudaMemcpy(data(), host.data(), host.size(), cudaMemcpyHostToDevice), "cudaMemcpy");
  }
  std::vector<double> read() const {
    std::vector<unsigned char> host(size_ * bytes_of(type_));
    check(cudaMemcpy(host.data(), data(), host.size(), cudaMemcpyDeviceToHost), "cudaMemcpy");
    std::vector<double> values(size_);
    for (int64_t i = 0; i < size_; ++i) values[i] = get(type_, &host[i * bytes_of(type_)]);
    return values;
  }

 private:
  ElementType type_;
  int64_t size_;
  int offset_;
  unsigned char* memory_ = nullptr;
};

struct Parameter {
  Values value, gradient, exp_avg, exp_avg_sq;

  Parameter(ElementType type, int64_t size, int offset)
      : value(type, size, offset),
        gradient(type, size, offset),
        exp_avg(type, size, offset),
        exp_avg_sq(type, size, offset) {}
  AdamTensor tensor() const {
    return {value.data(), gradient.data(), exp_avg.data(), exp_avg_sq.data(), value.size()};
  }
};

class Scalar {
 public:
  explicit Scalar(float value) {
    check(cudaMalloc(&memory_, sizeof(float)), "cudaMalloc");
    check(cudaMemcpy(memory_, &value, sizeof(float), cudaMemcpyHostToDevice), "cudaMemcpy");
  }
  Scalar(const Scalar&) = delete;
  ~Scalar() { cudaFree(memory_); }
  const float* data() const { return memory_; }

 private:
  float* memory_ = nullptr;
};

std::vector<double> drawn(int64_t size, double deviation, bool squared, std::mt19937& random) {
  std::normal_distribution<double> normal(0, deviation);
  std::vector<double> values(size);
  for (double& value : values) {
    value = normal(random);
    if (squared) value *= value;
  }
  return values;
}

/// `got` is within some roundings of the type of `want`, where terms of size `scale` were added.
void expect_near(ElementType type, double got, double want, double scale, const std::string& what) {
  const double bound = (type == ElementType::kFloat32 ? 8 : 1.1) * rounding_of(type) * scale +
                       1e-30 + (type == ElementType::kFloat16 ? 0x1p-25 : 0);
  if (!(std::abs(got - want) <= bound))
    expect(false, what + ": " + std::to_string(got) + ", not " + std::to_string(want));
}

void check_adam(ElementType type, bool decoupled, float gradient_scale, bool skip) {
  const std::string label = std::string(name_of(type)) + (decoupled ? " AdamW" : " Adam") +
                            " scale " + std::to_string(gradient_scale) + (skip ? " skipped" : "");
  std::mt19937 random(7);
  const int64_t sizes[] = {1, 3, 8, 17, 4096, 16383, 16384, 16385, 50001, 0};
  std::vector<Parameter> parameters;
  for (int i = 0; i < 110; ++i)
    parameters.emplace_back(type, sizes[i % std::size(sizes)], i % 3 == 2 ? 1 : 0);
  for (const Parameter& p : parameters) {
    p.value.write(drawn(p.value.size(), 0.02, false, random));
    p.gradient.write(drawn(p.value.size(), 0.1, false, random));
    p.exp_avg.write(drawn(p.value.size(), 0.05, false, random));
    p.exp_avg_sq.write(drawn(p.value.size(), 0.1, true, random));
  }
  struct Before {
    std::vector<double> p, g, m, v;
  };
  std::vector<Before> before;
  std::vector<AdamTensor> tensors;
  for (const Parameter& p : parameters) {
    before.push_back({p.value.read(), p.gradient.read(), p.exp_avg.read(), p.exp_avg_sq.read()});
    tensors.push_back(p.tensor());
  }
  constexpr double kStep = 5;
  const Scalar step(kStep), scale(gradient_scale), skipped(skip ? 1.F : 0.F);
  AdamUpdate update{.type = type,
                    .decoupled = decoupled,
                    .lr = 3e-3,
                    .beta1 = 0.9,
                    .beta2 = 0.95,
                    .weight_decay = 0.1,
                    .eps = 1e-8,
                    .step = step.data(),
                    .gradient_scale = gradient_scale == 1 ? nullptr : scale.data(),
                    .skip = skip ? skipped.data() : nullptr};
  adam(update, tensors, nullptr);
  check(cudaDeviceSynchronize(), "adam");

  const double bias1 = 1 - std::pow(update.beta1, kStep);
  const double bias2 = std::sqrt(1 - std::pow(update.beta2, kStep));
  for (size_t t = 0; t < parameters.size(); ++t) {
    const std::vector<double> p = parameters[t].value.read(), m = parameters[t].exp_avg.read(),
                              v = parameters[t].exp_avg_sq.read();
    for (size_t i = 0; i < p.size(); ++i) {
      double want_p = before[t].p[i], want_m = before[t].m[i], want_v = before[t].v[i];
      const double g_scale = std::abs(before[t].g[i] * gradient_scale) + std::abs(before[t].m[i]) +
                             std::abs(before[t].p[i]);
      double step_scale = 0;  // of the step's terms, which may cancel
      if (!skip) {
        double g = before[t].g[i] * gradient_scale;
        if (!decoupled) g += update.weight_decay * want_p;
        want_m = update.beta1 * want_m + (1 - update.beta1) * g;
        want_v = update.beta2 * want_v + (1 - update.beta2) * g * g;
        const double rate = update.lr / bias1 / (std::sqrt(want_v) / bias2 + update.eps);
        step_scale = rate * g_scale;
        want_p = want_p * (decoupled ? 1 - update.lr * update.weight_decay : 1) - rate * want_m;
      }
      expect_near(type, m[i], want_m, g_scale, label + " exp_avg");
      expect_near(type, v[i], want_v, std::max(want_v, before[t].v[i]), label + " exp_avg_sq");
      expect_near(type, p[i], want_p, std::abs(before[t].p[i]) + step_scale, label + " parameter");
      if (failures > 10) return;
    }
  }
}

void check_norms(ElementType type) {
  std::mt19937 random(9);
  const int64_t sizes[] = {1, 0, 7, 16384, 16385, 70001};
  std::vector<Values> values;
  std::vector<SquaredTensor> tensors;
  for (int i = 0; i < 100; ++i) {
    values.emplace_back(type, sizes[i % std::size(sizes)], i % 2);
    values.back().write(drawn(values.back().size(), 0.1, false, random));
  }
  for (const Values& v : values) tensors.push_back({v.data(), v.size()});
  double *partial = nullptr, *sums = nullptr;
  check(cudaMalloc(&partial, squared_norm_pieces(tensors) * sizeof(double)), "cudaMalloc");
  check(cudaMalloc(&sums, tensors.size() * sizeof(double)), "cudaMalloc");
  std::vector<double> first;
  for (int run = 0; run < 3; ++run) {
    squared_norms(type, tensors, partial, sums, nullptr);
    std::vector<double> got(tensors.size());
    check(cudaMemcpy(got.data(), sums, got.size() * sizeof(double), cudaMemcpyDeviceToHost),
          "cudaMemcpy");
    if (run == 0) first = got;
    expect(got == first, std::string(name_of(type)) + " squared norms change from run to run");
  }
  for (size_t t = 0; t < values.size(); ++t) {
    double want = 0;
    for (const double x : values[t].read()) want += x * x;
    expect(std::abs(first[t] - want) <= 1e-6 * want, std::string(name_of(type)) + " squared norm " +
                                                         std::to_string(first[t]) + ", not " +
                                                         std::to_string(want));
  }
  cudaFree(partial);
  cudaFree(sums);
}

/// Median milliseconds of seven calls.
template <class F>
float milliseconds(F f) {
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "cudaEventCreate");
  check(cudaEventCreate(&end), "cudaEventCreate");
  std::vector<float> times;
  for (int i = -2; i < 7; ++i) {
    check(cudaEventRecord(begin), "cudaEventRecord");
    f();
    check(cudaEventRecord(end), "cudaEventRecord");
    check(cudaEventSynchronize(end), "the work");
    float time = 0;
    check(cudaEventElapsedTime(&time, begin, end), "cudaEventElapsedTime");
    if (i >= 0) times.push_back(time);
  }
  std::nth_element(times.begin(), times.begin() + 3, times.end());
  check(cudaEventDestroy(begin), "cudaEventDestroy");
  check(cudaEventDestroy(end), "cudaEventDestroy");
  return times[3];
}

void time_all(ElementType type) {
  // Of Llama 3 1B: embedding (tied), 16 layers.
  std::vector<int64_t> sizes = {128256LL * 2048, 2048};
  for (int layer = 0; layer < 16; ++layer)
    for (const int64_t size : {2048LL * 2048, 512LL * 2048, 512LL * 2048, 2048LL * 2048,
                               8192LL * 2048, 8192LL * 2048, 8192LL * 2048, 2048LL, 2048LL})
      sizes.push_back(size);
  std::vector<Parameter> parameters;
  std::vector<AdamTensor> tensors;
  std::vector<SquaredTensor> gradients;
  int64_t all = 0;
  for (const int64_t size : sizes) {
    parameters.emplace_back(type, size, 0);
    const AdamTensor tensor = parameters.back().tensor();
    for (void* values :
         {tensor.parameter, const_cast<void*>(tensor.gradient), tensor.exp_avg, tensor.exp_avg_sq})
      check(cudaMemset(values, 0, size * bytes_of(type)), "cudaMemset");
    tensors.push_back(tensor);
    gradients.push_back({tensor.gradient, size});
    all += size;
  }
  const Scalar step(1), scale(0.5F);
  const AdamUpdate update{.type = type,
                          .lr = 1e-4,
                          .beta1 = 0.9,
                          .beta2 = 0.95,
                          .weight_decay = 0.1,
                          .eps = 1e-8,
                          .step = step.data(),
                          .gradient_scale = scale.data()};
  double *partial = nullptr, *sums = nullptr;
  check(cudaMalloc(&partial, squared_norm_pieces(gradients) * sizeof(double)), "cudaMalloc");
  check(cudaMalloc(&sums, gradients.size() * sizeof(double)), "cudaMalloc");
  const float adam_ms = milliseconds([&] { adam(update, tensors, nullptr); });
  const float norm_ms =
      milliseconds([&] { squared_norms(type, gradients, partial, sums, nullptr); });
  const double bytes = static_cast<double>(all * bytes_of(type));
  std::printf(
      "%s, %.3f 10^9 parameters: AdamW %.2f ms, %.0f GB/s; squared norms %.2f ms, %.0f GB/s\n",
      name_of(type), 1e-9 * static_cast<double>(all), adam_ms, 7e-6 * bytes / adam_ms, norm_ms,
      1e-6 * bytes / norm_ms);
  cudaFree(partial);
  cudaFree(sums);
}

}  // namespace
}  // namespace coeus::cuda

int main(int argc, char** argv) {
  using namespace coeus::cuda;
  const std::string option = argc > 1 ? argv[1] : "";
  if (argc > 2 || (argc == 2 && option != "--time")) {
    std::fprintf(stderr, "usage: %s [--time]\n", argv[0]);
    return 2;
  }
  for (const ElementType type :
       {ElementType::kFloat32, ElementType::kBFloat16, ElementType::kFloat16}) {
    for (const bool decoupled : {true, false})
      for (const float scale : {1.F, 0.25F}) check_adam(type, decoupled, scale, /*skip=*/false);
    check_adam(type, /*decoupled=*/true, 1, /*skip=*/true);
    check_norms(type);
  }
  if (option == "--time")
    for (const ElementType type : {ElementType::kFloat32, ElementType::kBFloat16}) time_all(type);
  std::printf("%s\n", failures == 0 ? "passed" : "FAILED");
  return failures == 0 ? 0 : 1;
}
