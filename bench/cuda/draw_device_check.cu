// Holds the numbers that a GPU draws to those of coeus/base/random.h on the CPU: of every kind,
// type and box, how many differ at all, and how many by more than a unit in the last place. With
// --time also measures the draws of 10^9 elements. Ends with 1 when an element is more than a unit
// off or memory beside the values was written.
//
//   nvcc -std=c++20 -O3 -lineinfo --expt-relaxed-constexpr -I src
//     -gencode=arch=compute_80,code=[compute_80,sm_80] -gencode=arch=compute_90,code=sm_90
//     bench/cuda/draw_device_check.cu src/coeus/kernels/cuda/draw.cu src/coeus/base/random.cpp
//     -o draw_device_check
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "coeus/base/random.h"
#include "coeus/kernels/cuda/check.h"
#include "coeus/kernels/cuda/draw.h"

namespace coeus::cuda {
namespace {

constexpr uint64_t kSeed = 1234;
constexpr const char* kName = "layers.7.mlp.up.weight";

constexpr ElementType kTypes[] = {ElementType::kFloat32, ElementType::kBFloat16,
                                  ElementType::kFloat16};
constexpr const char* kTypeNames[] = {"float32", "bfloat16", "float16"};
int64_t bytes_of(ElementType type) { return type == ElementType::kFloat32 ? 4 : 2; }

/// A distribution with its parameters, as the CPU draws it.
struct Kind {
  const char* name;
  Distribution distribution;
  double scale;
  double cut = 0;

  /// The normal probability of less than -cut / scale.
  double low = cut > 0 ? 0.5 * std::erfc(cut / scale / std::sqrt(2.0)) : 0;

  double draw(const CounterRandom& random, uint64_t element) const {
    switch (distribution) {
      case Distribution::kNormal:
        return scale * random.normal(element);
      case Distribution::kTruncatedNormal: {
        const double width = 1 - 2 * low;
        return std::clamp(scale * normal_quantile(low + width * random.uniform(element)), -cut,
                          cut);
      }
      case Distribution::kUniform:
        return scale * (2 * random.uniform(element) - 1);
    }
    throw std::runtime_error("no such distribution");
  }
};

const Kind kKinds[] = {
    {"normal", Distribution::kNormal, 0.02},
    {"normal, deviation 1", Distribution::kNormal, 1},
    {"truncated normal at 100 deviations", Distribution::kTruncatedNormal, 0.02, 2},
    {"truncated normal at 3 deviations", Distribution::kTruncatedNormal, 0.02, 0.06},
    {"truncated normal at 1 deviation", Distribution::kTruncatedNormal, 1, 1},
    {"truncated normal at 0.1 deviations", Distribution::kTruncatedNormal, 1, 0.1},
    {"uniform", Distribution::kUniform, 0.0217},
};

struct Place {
  const char* name;
  std::vector<int64_t> whole;  ///< empty: `n` elements that are the whole
  std::vector<int64_t> begin;
  std::vector<int64_t> size;
  int64_t n = 0;
  int offset = 0;  ///< elements after a multiple of 256 bytes

  int64_t numel() const {
    if (whole.empty()) return n;
    int64_t product = 1;
    for (int64_t s : size) product *= s;
    return product;
  }
  /// The number in the whole of the box's element number i.
  uint64_t element(int64_t i) const {
    if (whole.empty()) return i;
    int64_t element = 0, stride = 1;
    for (int d = static_cast<int>(whole.size()) - 1; d >= 0; --d) {
      element += (begin[d] + i % size[d]) * stride;
      i /= size[d];
      stride *= whole[d];
    }
    return element;
  }
};

const Place kPlaces[] = {
    {"2^25 elements, whole", {}, {}, {}, int64_t{1} << 25},
    {"one element", {}, {}, {}, 1},
    {"none", {}, {}, {}, 0},
    {"1001 elements, off by one", {}, {}, {}, 1001, 1},
    {"[3000, 1001], whole", {3000, 1001}, {0, 0}, {3000, 1001}},
    {"[3000, 1001], rows", {3000, 1001}, {750, 0}, {750, 1001}},
    {"[3000, 1001], columns", {3000, 1001}, {0, 77}, {3000, 301}},
    {"[3000, 1001], last column", {3000, 1001}, {0, 1000}, {3000, 1}, 0, 3},
    {"[3000, 1001], one row", {3000, 1001}, {2999, 5}, {1, 900}},
    {"[3000, 1001], no rows", {3000, 1001}, {3000, 0}, {0, 1001}},
    {"[60, 50, 333], middle", {60, 50, 333}, {0, 10, 0}, {60, 25, 333}},
    {"[60, 50, 333], all three", {60, 50, 333}, {7, 1, 3}, {50, 48, 329}, 0, 1},
    {"[60, 50, 333], outer and inner", {60, 50, 333}, {30, 0, 111}, {30, 50, 111}},
    {"[17, 19, 23, 29], all four", {17, 19, 23, 29}, {1, 2, 3, 4}, {15, 16, 19, 24}},
    {"[17, 19, 23, 29], ones", {17, 19, 23, 29}, {0, 18, 0, 28}, {17, 1, 23, 1}},
    {"[7, 2, 5, 3], small", {7, 2, 5, 3}, {1, 1, 1, 1}, {5, 1, 3, 2}},
    {"[300000, 400000], far corner", {300000, 400000}, {299000, 399000}, {1000, 1000}},
    {"[3, 2^40], far end", {3, int64_t{1} << 40}, {2, (int64_t{1} << 40) - 99999}, {1, 99999}},
};

int failures = 0;

/// The CPU's value in the bits of `type`.
uint32_t bits_of(double value, ElementType type) {
  const float x = static_cast<float>(value);
  uint32_t bits = 0;
  std::memcpy(&bits, &x, 4);
  if (type == ElementType::kBFloat16) return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
  if (type == ElementType::kFloat16) {
    const __half half = __float2half_rn(x);
    uint16_t narrow = 0;
    std::memcpy(&narrow, &half, 2);
    return narrow;
  }
  return bits;
}
/// Numbers in the order of the values, neighbours next to each other.
int64_t ordered(uint32_t bits, ElementType type) {
  const uint32_t sign = type == ElementType::kFloat32 ? 0x80000000U : 0x8000U;
  return bits & sign ? -static_cast<int64_t>(bits & (sign - 1)) : static_cast<int64_t>(bits);
}

struct Count {
  int64_t elements = 0;
  int64_t other = 0;     ///< differ at all
  int64_t far = 0;       ///< by more than a unit in the last place
  int64_t furthest = 0;  ///< units in the last place
};

/// Compares elements [first, first + host bytes) of the values with the CPU's, on all cores.
Count compare(const Kind& kind, ElementType type, const Place& place, int64_t first,
              const std::vector<unsigned char>& host) {
  const CounterRandom random(kSeed, kName);
  const int64_t size = bytes_of(type);
  const int64_t n = static_cast<int64_t>(host.size()) / size;
  constexpr int64_t kChunk = 1 << 14;
  std::atomic<int64_t> next = 0, other = 0, far = 0, furthest = 0;
  const auto work = [&] {
    for (int64_t begin; (begin = next.fetch_add(kChunk)) < n;) {
      for (int64_t i = begin; i < std::min(n, begin + kChunk); ++i) {
        uint32_t got = 0;
        std::memcpy(&got, host.data() + i * size, size);
        const uint32_t want = bits_of(kind.draw(random, place.element(first + i)), type);
        if (got == want) continue;
        ++other;
        const int64_t apart = std::abs(ordered(got, type) - ordered(want, type));
        if (apart > 1 && far++ < 3)
          std::printf("FAILED: %s, %s, %s: element %lld is %08x, not %08x\n", kind.name,
                      kTypeNames[static_cast<int>(type)], place.name,
                      static_cast<long long>(first + i), got, want);
        int64_t before = furthest;
        while (apart > before && !furthest.compare_exchange_weak(before, apart)) {
        }
      }
    }
  };
  std::vector<std::thread> threads;
  for (unsigned t = 1; t < std::thread::hardware_concurrency(); ++t) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
  return {n, other, far, furthest};
}

/// Memory of the device, filled with a pattern.
class Memory {
 public:
  static constexpr unsigned char kPattern = 0xA5;
  explicit Memory(int64_t bytes) : bytes_(bytes) {
    check(cudaMalloc(&memory_, bytes), "cudaMalloc");
    check(cudaMemset(memory_, kPattern, bytes), "cudaMemset");
  }
  ~Memory() { cudaFree(memory_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  unsigned char* at(int64_t byte) const { return memory_ + byte; }
  std::vector<unsigned char> read(int64_t byte, int64_t bytes) const {
    std::vector<unsigned char> out(bytes);
    check(cudaMemcpy(out.data(), at(byte), bytes, cudaMemcpyDeviceToHost), "cudaMemcpy");
    return out;
  }
  void expect_pattern(int64_t byte, int64_t bytes, const std::string& what) const {
    const std::vector<unsigned char> got = read(byte, bytes);
    if (std::all_of(got.begin(), got.end(), [](unsigned char c) { return c == kPattern; })) return;
    ++failures;
    std::printf("FAILED: %s: wrote beside the values\n", what.c_str());
  }

 private:
  unsigned char* memory_ = nullptr;
  int64_t bytes_;
};

Draw draw_of(const Kind& kind, ElementType type, const Place& place, void* values) {
  Draw work{.type = type,
            .distribution = kind.distribution,
            .values = values,
            .n = place.numel(),
            .state = CounterRandom(kSeed, kName).state(),
            .scale = kind.scale,
            .cut = kind.cut,
            .low = kind.low,
            .dims = static_cast<int>(place.whole.size())};
  std::copy(place.begin.begin(), place.begin.end(), work.begin);
  std::copy(place.size.begin(), place.size.end(), work.size);
  std::copy(place.whole.begin(), place.whole.end(), work.whole);
  return work;
}

/// Draws and compares the elements [first, first + count), all with a count of -1.
Count check_draw(const Kind& kind, ElementType type, const Place& place,
                 const std::vector<int64_t>& firsts = {0}, int64_t count = -1) {
  constexpr int64_t kGuard = 1024;
  const int64_t begin = kGuard + place.offset * bytes_of(type);
  const int64_t bytes = place.numel() * bytes_of(type);
  const Memory memory(begin + bytes + kGuard);
  draw(draw_of(kind, type, place, memory.at(begin)), nullptr);
  check(cudaDeviceSynchronize(), "draw");
  memory.expect_pattern(0, begin, place.name);
  memory.expect_pattern(begin + bytes, kGuard, place.name);
  Count sum;
  for (int64_t first : firsts) {
    const Count part = compare(
        kind, type, place, first,
        memory.read(begin + first * bytes_of(type), count < 0 ? bytes : count * bytes_of(type)));
    sum.elements += part.elements;
    sum.other += part.other;
    sum.far += part.far;
    sum.furthest = std::max(sum.furthest, part.furthest);
  }
  return sum;
}

void report(const std::string& what, const Count& count) {
  std::printf("%-50s %10lld elements, %4lld differ, %lld by more than 1 ulp, at most %lld ulp\n",
              what.c_str(), static_cast<long long>(count.elements),
              static_cast<long long>(count.other), static_cast<long long>(count.far),
              static_cast<long long>(count.furthest));
  std::fflush(stdout);
  if (count.far > 0) ++failures;
}

void check_all() {
  for (const Kind& kind : kKinds)
    for (ElementType type : kTypes) {
      Count sum;
      for (const Place& place : kPlaces) {
        const Count count = check_draw(kind, type, place);
        sum.elements += count.elements;
        sum.other += count.other;
        sum.far += count.far;
        sum.furthest = std::max(sum.furthest, count.furthest);
      }
      report(std::string(kind.name) + ", " + kTypeNames[static_cast<int>(type)], sum);
    }
  // Numbers of elements beyond 2^32, in the values and in the whole.
  const int64_t n = (int64_t{1} << 32) + 12345;
  const Place many{"2^32 + 12345 elements", {}, {}, {}, n};
  const Place columns{"[2^17, 40000], columns", {1 << 17, 40000}, {0, 100}, {1 << 17, 33000}};
  const int64_t count = 1 << 20;
  for (const Place& place : {many, columns})
    report(place.name, check_draw(kKinds[0], ElementType::kBFloat16, place,
                                  {0, (int64_t{1} << 31) - count / 2, (int64_t{1} << 32) - count,
                                   place.numel() - count},
                                  count));
}

/// That boxes which do not fit throw.
void check_errors() {
  const Memory memory(4096);
  for (const Place& place : {Place{"a begin below 0", {8, 8}, {-1, 0}, {4, 8}},
                             Place{"an end beyond the whole", {8, 8}, {0, 5}, {8, 4}},
                             Place{"5 dims", {1, 1, 1, 1}, {0, 0, 0, 0}, {1, 1, 1, 1}},
                             Place{"another n", {8, 8}, {0, 0}, {8, 8}}}) {
    Draw work = draw_of(kKinds[0], ElementType::kFloat32, place, memory.at(0));
    if (place.whole.size() == 4) work.dims = 5;
    if (std::string(place.name) == "another n") --work.n;
    bool thrown = false;
    try {
      draw(work, nullptr);
    } catch (const std::runtime_error&) {
      thrown = true;
    }
    if (thrown) continue;
    ++failures;
    std::printf("FAILED: %s is taken\n", place.name);
  }
}

/// The median of 7 draws of 10^9 elements.
void time(const Kind& kind, ElementType type, const Place& place) {
  const Memory memory(place.numel() * bytes_of(type));
  const Draw work = draw_of(kind, type, place, memory.at(0));
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "cudaEventCreate");
  check(cudaEventCreate(&end), "cudaEventCreate");
  std::vector<float> times;
  for (int i = -1; i < 7; ++i) {
    check(cudaEventRecord(begin), "cudaEventRecord");
    draw(work, nullptr);
    check(cudaEventRecord(end), "cudaEventRecord");
    check(cudaEventSynchronize(end), "draw");
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, begin, end), "cudaEventElapsedTime");
    if (i >= 0) times.push_back(milliseconds);
  }
  std::nth_element(times.begin(), times.begin() + 3, times.end());
  std::printf("%-36s %-9s %-28s %8.2f ms, %6.3f ns an element, %5.0f GB/s\n", kind.name,
              kTypeNames[static_cast<int>(type)], place.name, times[3],
              1e6 * times[3] / static_cast<double>(place.numel()),
              1e-6 * static_cast<double>(place.numel() * bytes_of(type)) / times[3]);
  check(cudaEventDestroy(begin), "cudaEventDestroy");
  check(cudaEventDestroy(end), "cudaEventDestroy");
}

void time_all() {
  const Place whole{"10^9, whole", {}, {}, {}, 1'000'000'000};
  const Place columns{"[40000, 100000], columns", {40000, 100000}, {0, 75000}, {40000, 25000}};
  const Place three{
      "[200, 5000, 2000], all three", {200, 5000, 2000}, {0, 1, 2}, {199, 4999, 1005}};
  for (const Kind& kind : kKinds)
    for (ElementType type : {ElementType::kFloat32, ElementType::kBFloat16})
      time(kind, type, whole);
  for (const Place& place : {columns, three})
    for (ElementType type : {ElementType::kFloat32, ElementType::kBFloat16})
      time(kKinds[0], type, place);
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
  check_errors();
  check_all();
  if (option == "--time") time_all();
  std::printf("%s\n", failures == 0 ? "passed" : "FAILED");
  return failures == 0 ? 0 : 1;
}
