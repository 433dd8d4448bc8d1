// Attention's kernels on a GPU, by themselves: `--check` holds them to float64 on the CPU and to
// the plain kernels in float32, `--time` measures them; both, without either. `--filter TEXT` takes
// the cases whose name has it, `--forward-only` leaves backward out, `--no-hopper` takes the plain
// kernels alone, `--deterministic` asks the Hopper kernels for gradients whose bits never change.
// `--repeats N` looks whether a timed case's bits change in N runs. Ends with 1 when
// a result is wrong, 3 when a kernel does not end, 4 when CUDA reports an error.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "coeus/kernels/cuda/attention.h"
#include "coeus/kernels/cuda/check.h"
#include "coeus/kernels/cuda/mask_image.h"
#include "coeus/kernels/cuda/with_type.cuh"
#include "coeus/mask/lower.h"

namespace coeus::cuda {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

struct Options {
  bool check = false;
  bool time = false;
  bool forward_only = false;
  int repeats = 0;  ///< of each timed case, to see whether its bits change
  bool hopper = true;
  bool deterministic = false;
  std::string filter;
};

[[noreturn]] void stop(int code, const std::string& what, const char* why) {
  std::printf("STOPPED in %s: %s\n", what.c_str(), why);
  std::fflush(stdout);
  _exit(code);
}

/// Waits for the stream; a kernel that hangs can only be ended with its process.
void finish(cudaStream_t stream, const std::string& what) {
  constexpr double kLongest = 20;
  const auto start = Clock::now();
  for (;;) {
    const cudaError_t state = cudaStreamQuery(stream);
    if (state == cudaSuccess) return;
    if (state != cudaErrorNotReady) stop(4, what, cudaGetErrorString(state));
    if (seconds_since(start) > kLongest) stop(3, what, "a kernel is not done after 20 s");
    std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
}

/// Device memory that is taken piece by piece and given back all at once. Pieces start out as NaN
/// in every type.
class Arena {
 public:
  Arena(size_t most, cudaStream_t stream) : stream_(stream) {
    size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
    bytes_ = std::min(most, free / 10 * 9);
    check(cudaMalloc(&data_, bytes_), "cudaMalloc");
  }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena() { cudaFree(data_); }

  void* take(int64_t bytes) {
    void* const piece = static_cast<char*>(data_) + used_;
    const size_t size = (static_cast<size_t>(bytes) + 511) / 256 * 256;
    if (used_ + size > bytes_) throw std::runtime_error("the device has too little memory for it");
    used_ += size;
    check(cudaMemsetAsync(piece, 0xFF, size, stream_), "cudaMemsetAsync");
    return piece;
  }
  template <class T>
  T* take_array(int64_t count) {
    return static_cast<T*>(take(count * static_cast<int64_t>(sizeof(T))));
  }
  void give_back_all() { used_ = 0; }

 private:
  cudaStream_t stream_;
  void* data_ = nullptr;
  size_t bytes_ = 0;
  size_t used_ = 0;
};

// ------------------------------------------------------------------------------------ tensors

/// How a tensor [batch, tokens, heads, dim] lies in memory.
enum class Layout {
  kTokens,  ///< in that order
  kHeads,   ///< as [batch, heads, tokens, dim]
  kApart,   ///< with a gap after each token and each row, as in a slice of something larger
};
constexpr int64_t kTokenGap = 8;
constexpr int64_t kRowGap = 64;

int64_t size_of(ElementType type) { return type == ElementType::kFloat32 ? 4 : 2; }

const char* name_of(ElementType type) {
  switch (type) {
    case ElementType::kFloat32:
      return "fp32";
    case ElementType::kBFloat16:
      return "bf16";
    case ElementType::kFloat16:
      return "fp16";
  }
  return "?";
}

struct Tensor {
  AttentionTensor view;
  ElementType type = ElementType::kFloat32;
  Layout layout = Layout::kTokens;
  int batch = 0;
  int tokens = 0;
  int heads = 0;
  int dim = 0;

  __host__ __device__ int64_t rows() const { return int64_t{batch} * tokens * heads; }
  __host__ __device__ int64_t count() const { return rows() * dim; }
  /// Elements of memory, with gaps.
  __host__ __device__ int64_t stored() const { return view.row_stride * batch; }
  /// Where row `row` of [batch, tokens, heads] begins.
  __host__ __device__ int64_t place_of(int64_t row) const {
    const int64_t token = row / heads;
    return token / tokens * view.row_stride + token % tokens * view.token_stride +
           row % heads * view.head_stride;
  }
};

Tensor make_tensor(Arena& arena, ElementType type, int batch, int tokens, int heads, int dim,
                   Layout layout) {
  Tensor x{{}, type, layout, batch, tokens, heads, dim};
  if (layout == Layout::kHeads) {
    x.view.token_stride = dim;
    x.view.head_stride = int64_t{tokens} * dim;
    x.view.row_stride = heads * x.view.head_stride;
  } else {
    const bool is_apart = layout == Layout::kApart;
    x.view.head_stride = dim;
    x.view.token_stride = int64_t{heads} * dim + (is_apart ? kTokenGap : 0);
    x.view.row_stride = tokens * x.view.token_stride + (is_apart ? kRowGap : 0);
  }
  x.view.data = arena.take(x.stored() * size_of(type));
  return x;
}

constexpr int kThreads = 256;
constexpr int kMostBlocks = 4096;

unsigned blocks_for(int64_t threads) {
  return static_cast<unsigned>(
      std::clamp<int64_t>((threads + kThreads - 1) / kThreads, 1, kMostBlocks));
}

__device__ float as_float(float x) { return x; }
__device__ float as_float(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ float as_float(__half x) { return __half2float(x); }
__device__ void round_to(float x, float& out) { out = x; }
__device__ void round_to(float x, __nv_bfloat16& out) { out = __float2bfloat16_rn(x); }
__device__ void round_to(float x, __half& out) { out = __float2half_rn(x); }

/// The finaliser of splitmix64.
__device__ uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

/// Standard normal values, rounded to the tensor's type; `exact`, unless null, gets them as floats
/// in the order [batch, tokens, heads, dim].
template <class T>
__global__ void fill_kernel(Tensor x, float* exact, uint64_t seed) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < x.count(); i += step) {
    const uint64_t bits = mix(mix(seed) + static_cast<uint64_t>(i) * 0x9E3779B97F4A7C15ull);
    const float radius = static_cast<float>((bits >> 40) + 1) * 0x1p-24f;
    const float angle = static_cast<float>((bits & 0xFFFFFF)) * 0x1p-24f;
    T& value = static_cast<T*>(x.view.data)[x.place_of(i / x.dim) + i % x.dim];
    round_to(sqrtf(-2 * logf(radius)) * cospif(2 * angle), value);
    if (exact != nullptr) exact[i] = as_float(value);
  }
}

void fill(const Tensor& x, float* exact, uint64_t seed, cudaStream_t stream) {
  with_type(x.type, [&](auto zero) {
    fill_kernel<decltype(zero)><<<blocks_for(x.count()), kThreads, 0, stream>>>(x, exact, seed);
  });
  check(cudaGetLastError(), "fill_kernel");
}

/// How far a result is from its reference.
struct Score {
  double difference;     ///< sum of squares
  double reference;      ///< sum of squares
  unsigned worst_row;    ///< a float's bits: the worst error of a row
  unsigned largest;      ///< a float's bits: the largest difference
  unsigned not_finite;   ///< values that are not finite, where the reference's are
  unsigned differences;  ///< words that differ, or that nobody should have written
};

/// Sums of squares of a row's difference and reference; a warp a row.
template <class T, class R>
__global__ void compare_kernel(Tensor x, const R* reference, double2* sums, Score* score) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t step = int64_t{gridDim.x} * blockDim.x / 32;
  for (int64_t row = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) / 32; row < x.rows();
       row += step) {
    const T* const values = static_cast<const T*>(x.view.data) + x.place_of(row);
    double difference = 0, squares = 0;
    unsigned bad = 0;
    for (int d = lane; d < x.dim; d += 32) {
      const double value = as_float(values[d]);
      const double expected = static_cast<double>(reference[row * x.dim + d]);
      if (!isfinite(value) || !isfinite(expected)) {
        ++bad;
        continue;
      }
      difference += (value - expected) * (value - expected);
      squares += expected * expected;
    }
    for (int other = 16; other > 0; other /= 2) {
      difference += __shfl_xor_sync(~0u, difference, other);
      squares += __shfl_xor_sync(~0u, squares, other);
      bad += __shfl_xor_sync(~0u, bad, other);
    }
    if (lane != 0) continue;
    sums[row] = {difference, squares};
    atomicAdd(&score->difference, difference);
    atomicAdd(&score->reference, squares);
    if (bad > 0) atomicAdd(&score->not_finite, bad);
  }
}

/// The worst relative error of a row; a row that is small counts as one of usual size, or of the
/// root mean square `floor`.
__global__ void worst_row_kernel(const double2* sums, int64_t rows, int dim, double floor,
                                 Score* score) {
  const double least =
      fmax(sqrt(score->reference / static_cast<double>(rows)), floor * sqrt(double(dim)));
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t row = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; row < rows; row += step) {
    const double error = sqrt(sums[row].x) / fmax(sqrt(sums[row].y), fmax(least, 1e-300));
    // Floats of one sign are in the order of their bits.
    atomicMax(&score->worst_row, __float_as_uint(static_cast<float>(error)));
  }
}

template <class R>
__global__ void compare_lse_kernel(const float* lse, const R* reference, int64_t count,
                                   Score* score) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step) {
    const double expected = static_cast<double>(reference[i]);
    const double value = lse[i];
    if (value == expected) continue;
    if (!isfinite(value) || !isfinite(expected)) {
      atomicAdd(&score->not_finite, 1u);
    } else {
      atomicMax(&score->largest, __float_as_uint(static_cast<float>(fabs(value - expected))));
    }
  }
}

/// Counts 16-bit words that differ.
__global__ void differences_kernel(const uint16_t* a, const uint16_t* b, int64_t count,
                                   Score* score) {
  unsigned found = 0;
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step)
    found += a[i] != b[i];
  if (found > 0) atomicAdd(&score->differences, found);
}

/// Counts 16-bit words of gaps that no longer are what they were made.
__global__ void gaps_kernel(Tensor x, int words, Score* score) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < x.stored() * words;
       i += step) {
    const int64_t in_row = i / words % x.view.row_stride;
    const bool is_gap =
        in_row >= x.tokens * x.view.token_stride || in_row % x.view.token_stride >= x.heads * x.dim;
    if (is_gap && static_cast<const uint16_t*>(x.view.data)[i] != 0xFFFF)
      atomicAdd(&score->differences, 1u);
  }
}

__global__ void count_not_finite_kernel(const uint16_t* words, bool is_half, int64_t count,
                                        Score* score) {
  const unsigned exponent = is_half ? 0x7C00 : 0x7F80;
  unsigned found = 0;
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step)
    found += (words[i] & exponent) == exponent;
  if (found > 0) atomicAdd(&score->not_finite, found);
}

// ------------------------------------------------------------------------------- attention runs

struct Heads {
  int heads;
  int kv_heads;
};
struct Dims {
  int head_dim;
  int value_dim;
};

/// A mask on the device, and what it took to get it there.
struct PlacedMask {
  BlockMask mask;
  DeviceMask device;
  void* memory = nullptr;
  void* pinned = nullptr;
  double lower_ms = 0, pack_ms = 0, place_ms = 0;
  int64_t host_bytes = 0, device_bytes = 0;

  PlacedMask(const std::string& text, const std::vector<SequenceLayout>& rows, bool with_turns,
             cudaStream_t stream) {
    const Mask expression = parse_mask(text);
    auto start = Clock::now();
    mask = lower(expression, rows);
    lower_ms = 1e3 * seconds_since(start);
    start = Clock::now();
    const MaskImage image(mask, with_turns);
    pack_ms = 1e3 * seconds_since(start);
    host_bytes = image.host_bytes();
    device_bytes = image.device_bytes();
    check(cudaMalloc(&memory, static_cast<size_t>(device_bytes) + 256), "cudaMalloc");
    check(cudaMallocHost(&pinned, static_cast<size_t>(host_bytes) + 256), "cudaMallocHost");
    check(cudaMemsetAsync(memory, 0xFF, static_cast<size_t>(device_bytes) + 256, stream),
          "cudaMemsetAsync");
    std::memcpy(pinned, image.host_data(), static_cast<size_t>(host_bytes));
    start = Clock::now();
    device = image.place(memory, pinned, stream);
    finish(stream, "placing the mask " + text);
    place_ms = 1e3 * seconds_since(start);
    check_bits(image, text);
  }
  PlacedMask(const PlacedMask&) = delete;
  PlacedMask& operator=(const PlacedMask&) = delete;
  ~PlacedMask() {
    cudaFree(memory);
    cudaFreeHost(pinned);
  }

 private:
  /// What the device made of it must be what the host does.
  void check_bits(const MaskImage& image, const std::string& text) const {
    constexpr int64_t kMost = int64_t{256} << 20;
    if (device_bytes > kMost) return;
    std::vector<uint64_t> expected(device_bytes / 8 + 1), found(device_bytes / 8 + 1);
    image.expand_on_host(expected.data());
    check(cudaMemcpy(found.data(), memory, device_bytes, cudaMemcpyDeviceToHost), "cudaMemcpy");
    if (std::memcmp(static_cast<const char*>(image.host_data()), found.data(), host_bytes) != 0)
      throw std::runtime_error("the mask " + text + " was not copied whole");
    const auto* const a = reinterpret_cast<const char*>(expected.data()) + host_bytes;
    const auto* const b = reinterpret_cast<const char*>(found.data()) + host_bytes;
    if (std::memcmp(a, b, device_bytes - host_bytes) != 0)
      throw std::runtime_error("the bits of the mask " + text + " differ from the host's");
  }
};

struct Problem {
  AttentionShape shape;
  ElementType type = ElementType::kBFloat16;
  Layout layout = Layout::kTokens;
  float scale = 0;
  DeviceMask mask;
};

struct Inputs {
  Tensor q, k, v, grad_out;
};

struct Results {
  Tensor out, grad_q, grad_k, grad_v;
  float* lse = nullptr;
};

/// To loop over them.
using Input = Tensor Inputs::*;
using Result = Tensor Results::*;
constexpr Input kInputs[] = {&Inputs::q, &Inputs::k, &Inputs::v, &Inputs::grad_out};
constexpr Result kGradients[] = {&Results::grad_q, &Results::grad_k, &Results::grad_v};

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

AttentionForward forward_of(const Problem& p, const Inputs& in, const Results& r, int* counter) {
  AttentionForward work;
  work.shape = p.shape;
  work.type = p.type;
  work.scale = p.scale;
  work.mask = p.mask;
  work.q = in.q.view;
  work.k = in.k.view;
  work.v = in.v.view;
  work.out = r.out.view;
  work.lse = r.lse;
  work.counter = counter;
  return work;
}

AttentionBackward backward_of(const Problem& p, const Inputs& in, const Results& forward,
                              const Results& r, void* scratch) {
  AttentionBackward work;
  work.shape = p.shape;
  work.type = p.type;
  work.scale = p.scale;
  work.mask = p.mask;
  work.q = in.q.view;
  work.k = in.k.view;
  work.v = in.v.view;
  work.out = forward.out.view;
  work.grad_out = in.grad_out.view;
  work.lse = forward.lse;
  work.grad_q = r.grad_q.view;
  work.grad_k = r.grad_k.view;
  work.grad_v = r.grad_v.view;
  work.scratch = scratch;
  return work;
}

// ----------------------------------------------------------------------------- float64 on the CPU

/// The results of a batch of one in float64, [tokens, heads, dim]; lse [heads, queries].
struct Exact {
  std::vector<double> out, lse, grad_q, grad_k, grad_v;
};

struct ExactInputs {
  std::vector<float> q, k, v, grad_out;
};

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

// ------------------------------------------------------------------------------------ the check

struct Case {
  std::string mask;
  int length = 0;
  int batch = 0;
  Heads heads{};
  Dims dims{};
  ElementType type = ElementType::kBFloat16;
  Layout layout = Layout::kTokens;

  std::string name() const {
    const char* const layouts[] = {"tokens", "heads", "apart"};
    return "[" + mask + " S" + std::to_string(length) + " B" + std::to_string(batch) + " H" +
           std::to_string(heads.heads) + "/" + std::to_string(heads.kv_heads) + " D" +
           std::to_string(dims.head_dim) + "/" + std::to_string(dims.value_dim) + " " +
           name_of(type) + " " + layouts[static_cast<int>(layout)] + "]";
  }
};

/// The root mean square that a gradient counts as having at least: those of queries that see one
/// key are nothing but rounding.
constexpr double kGradientFloor = 0.02;

struct Bounds {
  double out;
  double lse;
  double gradient;
  double gradient_floor;
};

Bounds bounds_of(ElementType type) {
  switch (type) {
    case ElementType::kFloat32:
      return {1e-5, 1e-5, 1e-5, 0.1};
    case ElementType::kBFloat16:
      return {5e-3, 1e-3, 1.5e-2, kGradientFloor};
    case ElementType::kFloat16:
      return {1e-3, 1e-3, 3e-3, kGradientFloor};
  }
  return {};
}

/// What a single row may err more than all of them together.
constexpr double kRowAllowance = 10;
constexpr int kMostScores = 64;

/// The largest errors of one kernel in one type and dims.
struct Summary {
  int cases = 0;
  int wrong = 0;
  double out = 0, lse = 0, grad_q = 0, grad_k = 0, grad_v = 0, row = 0;
  int repeated = 0;
  int backward_repeats_differ = 0;
};
using Worst = double Summary::*;

class Checker {
 public:
  Checker(const Options& options, cudaStream_t stream)
      : options_(options), stream_(stream), arena_(size_t{4} << 30, stream) {
    check(cudaMalloc(&scores_, kMostScores * sizeof(Score)), "cudaMalloc");
  }
  Checker(const Checker&) = delete;
  Checker& operator=(const Checker&) = delete;
  ~Checker() { cudaFree(scores_); }

  /// Whether all was right.
  bool run();

 private:
  /// One number of a case: which kernel's, and how it is judged.
  struct Judgement {
    enum Kind { kRelative, kLargest, kBitwise, kGaps } kind;
    std::string kernel;
    const char* what;
    double bound = 0;
    double floor = 0;
    int64_t count = 0;
    Worst worst = nullptr;
    bool is_fatal = true;
  };
  /// References in float (of the plain kernels) or double (of the CPU), by tensor.
  template <class R>
  struct References {
    const R *out, *lse, *grad_q, *grad_k, *grad_v;
  };

  void check_case(const Case& c, const PlacedMask& placed);
  template <class R>
  void compare(const std::string& kernel, const Results& r, const AttentionShape& shape,
               const Bounds& bounds, const References<R>& reference, bool has_backward);
  template <class R>
  void compare(const std::string& kernel, const char* what, const Tensor& x, const R* reference,
               double bound, double floor, Worst worst);
  void compare_bitwise(const std::string& kernel, const char* what, const void* a, const void* b,
                       int64_t bytes, bool is_fatal);
  void check_gaps(const std::string& kernel, const char* what, const Tensor& x);
  Score* next_score(Judgement judgement);
  void judge(const Case& c);
  const double* upload(const std::vector<double>& x);
  std::vector<float> download(const float* x, int64_t count);

  const Options& options_;
  cudaStream_t stream_;
  Arena arena_;
  Score* scores_ = nullptr;
  std::vector<Judgement> judgements_;
  std::map<std::string, Summary> summaries_;
  std::map<std::string, int> not_taken_;
  int shown_ = 0;
};

Score* Checker::next_score(Judgement judgement) {
  if (judgements_.size() == kMostScores) throw std::runtime_error("more scores than there is room");
  judgements_.push_back(std::move(judgement));
  return scores_ + judgements_.size() - 1;
}

const double* Checker::upload(const std::vector<double>& x) {
  auto* const at = arena_.take_array<double>(static_cast<int64_t>(x.size()));
  check(cudaMemcpyAsync(at, x.data(), x.size() * sizeof(double), cudaMemcpyHostToDevice, stream_),
        "cudaMemcpyAsync");
  return at;
}

std::vector<float> Checker::download(const float* x, int64_t count) {
  std::vector<float> host(count);
  check(cudaMemcpyAsync(host.data(), x, count * sizeof(float), cudaMemcpyDeviceToHost, stream_),
        "cudaMemcpyAsync");
  return host;
}

template <class R>
void Checker::compare(const std::string& kernel, const char* what, const Tensor& x,
                      const R* reference, double bound, double floor, Worst worst) {
  if (x.count() == 0) return;
  Score* const score =
      next_score({Judgement::kRelative, kernel, what, bound, floor, x.count(), worst});
  auto* const sums = arena_.take_array<double2>(x.rows());
  with_type(x.type, [&](auto zero) {
    compare_kernel<decltype(zero)>
        <<<blocks_for(x.rows() * 32), kThreads, 0, stream_>>>(x, reference, sums, score);
  });
  check(cudaGetLastError(), "compare_kernel");
  worst_row_kernel<<<blocks_for(x.rows()), kThreads, 0, stream_>>>(sums, x.rows(), x.dim, floor,
                                                                   score);
  check(cudaGetLastError(), "worst_row_kernel");
  check_gaps(kernel, what, x);
}

void Checker::check_gaps(const std::string& kernel, const char* what, const Tensor& x) {
  if (x.layout != Layout::kApart) return;
  gaps_kernel<<<blocks_for(x.stored()), kThreads, 0, stream_>>>(
      x, static_cast<int>(size_of(x.type) / 2), next_score({Judgement::kGaps, kernel, what}));
  check(cudaGetLastError(), "gaps_kernel");
}

void Checker::compare_bitwise(const std::string& kernel, const char* what, const void* a,
                              const void* b, int64_t bytes, bool is_fatal) {
  Judgement judgement{Judgement::kBitwise, kernel, what};
  judgement.is_fatal = is_fatal;
  differences_kernel<<<blocks_for(bytes / 2), kThreads, 0, stream_>>>(
      static_cast<const uint16_t*>(a), static_cast<const uint16_t*>(b), bytes / 2,
      next_score(judgement));
  check(cudaGetLastError(), "differences_kernel");
}

template <class R>
void Checker::compare(const std::string& kernel, const Results& r, const AttentionShape& shape,
                      const Bounds& bounds, const References<R>& reference, bool has_backward) {
  compare(kernel, "out", r.out, reference.out, bounds.out, 1e-3, &Summary::out);
  compare_lse_kernel<<<blocks_for(lse_count(shape)), kThreads, 0, stream_>>>(
      r.lse, reference.lse, lse_count(shape),
      next_score({Judgement::kLargest, kernel, "lse", bounds.lse, 0, 0, &Summary::lse}));
  check(cudaGetLastError(), "compare_lse_kernel");
  if (!has_backward) return;
  const double floor = bounds.gradient_floor;
  compare(kernel, "dq", r.grad_q, reference.grad_q, bounds.gradient, floor, &Summary::grad_q);
  compare(kernel, "dk", r.grad_k, reference.grad_k, bounds.gradient, floor, &Summary::grad_k);
  compare(kernel, "dv", r.grad_v, reference.grad_v, bounds.gradient, floor, &Summary::grad_v);
}

float as_host_float(unsigned bits) {
  float x;
  std::memcpy(&x, &bits, sizeof(x));
  return x;
}

/// Reads the scores of a case, prints those that are too large and adds all to the summaries.
void Checker::judge(const Case& c) {
  std::vector<Score> scores(judgements_.size());
  check(cudaMemcpy(scores.data(), scores_, scores.size() * sizeof(Score), cudaMemcpyDeviceToHost),
        "cudaMemcpy");
  std::map<std::string, bool> is_wrong;
  std::map<std::string, bool> repeats_differ;
  constexpr int kMostShown = 60;
  const auto complain = [&](const Judgement& j, const char* how, double value, double bound) {
    is_wrong[j.kernel] = true;
    if (++shown_ > kMostShown) return;
    std::printf("WRONG %s %s %s: %s %.3g (bound %.3g)\n", c.name().c_str(), j.kernel.c_str(),
                j.what, how, value, bound);
  };
  for (size_t i = 0; i < scores.size(); ++i) {
    const Judgement& j = judgements_[i];
    const Score& score = scores[i];
    Summary& summary = summaries_[j.kernel];
    is_wrong.emplace(j.kernel, false);
    if (score.not_finite > 0) complain(j, "values not finite:", score.not_finite, 0);
    switch (j.kind) {
      case Judgement::kRelative: {
        const double least = j.floor * std::sqrt(static_cast<double>(j.count));
        const double error =
            std::sqrt(score.difference) / std::max(std::sqrt(score.reference), least);
        const double row = as_host_float(score.worst_row);
        if (!(error <= j.bound)) complain(j, "relative error", error, j.bound);
        if (!(row <= kRowAllowance * j.bound))
          complain(j, "relative error of a row", row, kRowAllowance * j.bound);
        summary.*j.worst = std::max(summary.*j.worst, error);
        summary.row = std::max(summary.row, row / j.bound);
        break;
      }
      case Judgement::kLargest: {
        const double error = as_host_float(score.largest);
        if (!(error <= j.bound)) complain(j, "largest error", error, j.bound);
        summary.*j.worst = std::max(summary.*j.worst, error);
        break;
      }
      case Judgement::kBitwise:
        if (j.is_fatal && score.differences > 0)
          complain(j, "words that differ in a second run:", score.differences, 0);
        if (!j.is_fatal) repeats_differ[j.kernel] |= score.differences > 0;
        break;
      case Judgement::kGaps:
        if (score.differences > 0) complain(j, "words written beside it:", score.differences, 0);
        break;
    }
  }
  for (const auto& [kernel, wrong] : is_wrong) {
    ++summaries_[kernel].cases;
    summaries_[kernel].wrong += wrong;
  }
  for (const auto& [kernel, differ] : repeats_differ) {
    ++summaries_[kernel].repeated;
    summaries_[kernel].backward_repeats_differ += differ;
  }
}

void Checker::check_case(const Case& c, const PlacedMask& placed) {
  arena_.give_back_all();
  judgements_.clear();
  check(cudaMemsetAsync(scores_, 0, kMostScores * sizeof(Score), stream_), "cudaMemsetAsync");
  const std::string name = c.name();
  const std::string suffix = std::string(" ") + name_of(c.type) + " " +
                             std::to_string(c.dims.head_dim) + "/" +
                             std::to_string(c.dims.value_dim);
  const AttentionShape shape{c.batch,          c.length,        c.length,        c.heads.heads,
                             c.heads.kv_heads, c.dims.head_dim, c.dims.value_dim};
  const float scale = 1 / std::sqrt(static_cast<float>(c.dims.head_dim));
  const Problem typed{shape, c.type, c.layout, scale, placed.device};
  const Problem exact{shape, ElementType::kFloat32, Layout::kTokens, scale, placed.device};
  const bool has_backward = !options_.forward_only;

  const Inputs inputs = make_inputs(arena_, typed);
  const Inputs exact_inputs = make_inputs(arena_, exact);
  const auto data_of = [](const Tensor& x) { return static_cast<float*>(x.view.data); };
  uint64_t seed = 1000003 * static_cast<uint64_t>(c.length) + 17 * c.dims.head_dim + c.heads.heads;
  for (const Input x : kInputs) fill(inputs.*x, data_of(exact_inputs.*x), ++seed, stream_);

  int* const counter = arena_.take_array<int>(1);
  void* const plain_scratch = arena_.take(plain_backward_scratch_bytes(shape));
  const Results plain = make_results(arena_, exact);
  plain_forward(forward_of(exact, exact_inputs, plain, counter), stream_);
  finish(stream_, name + " plain_forward fp32");
  if (has_backward) {
    plain_backward(backward_of(exact, exact_inputs, plain, plain, plain_scratch), stream_);
    finish(stream_, name + " plain_backward fp32");
  }

  // What all others are held to: the CPU where that is soon done.
  const References<float> by_plain{data_of(plain.out), plain.lse, data_of(plain.grad_q),
                                   data_of(plain.grad_k), data_of(plain.grad_v)};
  References<double> by_cpu{};
  constexpr int kCpuLength = 300;
  constexpr int kCpuHeads = 4;
  const bool has_cpu = c.length <= kCpuLength && c.heads.heads <= kCpuHeads && c.batch == 1;
  Exact by_definition;
  if (has_cpu) {
    const ExactInputs host{download(data_of(exact_inputs.q), exact_inputs.q.count()),
                           download(data_of(exact_inputs.k), exact_inputs.k.count()),
                           download(data_of(exact_inputs.v), exact_inputs.v.count()),
                           download(data_of(exact_inputs.grad_out), exact_inputs.grad_out.count())};
    finish(stream_, name + " copying the inputs");
    by_definition = attend_exactly(shape, scale, placed.mask.to_dense(0), host);
    by_cpu = {upload(by_definition.out), upload(by_definition.lse), upload(by_definition.grad_q),
              upload(by_definition.grad_k), upload(by_definition.grad_v)};
    compare(
        "plain fp32 " + std::to_string(c.dims.head_dim) + "/" + std::to_string(c.dims.value_dim),
        plain, shape, bounds_of(ElementType::kFloat32), by_cpu, has_backward);
  }
  const auto compare_typed = [&](const std::string& kernel, const Results& r, bool with_gradients) {
    if (has_cpu) {
      compare(kernel + suffix, r, shape, bounds_of(c.type), by_cpu, with_gradients);
    } else {
      compare(kernel + suffix, r, shape, bounds_of(c.type), by_plain, with_gradients);
    }
  };

  const Results typed_plain = make_results(arena_, typed);
  plain_forward(forward_of(typed, inputs, typed_plain, counter), stream_);
  finish(stream_, name + " plain_forward");
  if (has_backward) {
    plain_backward(backward_of(typed, inputs, typed_plain, typed_plain, plain_scratch), stream_);
    finish(stream_, name + " plain_backward");
  }
  compare_typed("plain", typed_plain, has_backward);

  if (options_.hopper) {
    const Results first = make_results(arena_, typed);
    const Results second = make_results(arena_, typed);
    const AttentionForward forward = forward_of(typed, inputs, first, counter);
    const bool takes_forward = hopper_takes(forward);
    if (takes_forward) {
      hopper_forward(forward, stream_);
      finish(stream_, name + " hopper_forward");
      hopper_forward(forward_of(typed, inputs, second, counter), stream_);
      finish(stream_, name + " hopper_forward, second run");
      const int64_t bytes = first.out.stored() * size_of(c.type);
      compare_bitwise("hopper" + suffix, "out", first.out.view.data, second.out.view.data, bytes,
                      true);
      compare_bitwise("hopper" + suffix, "lse", first.lse, second.lse, 4 * lse_count(shape), true);
    } else {
      ++not_taken_["hopper_forward" + suffix];
    }
    const Results& forward_results = takes_forward ? first : typed_plain;
    const int64_t scratch_bytes = hopper_backward_scratch_bytes(shape);
    AttentionBackward backward = backward_of(
        typed, inputs, forward_results, first, has_backward ? arena_.take(scratch_bytes) : nullptr);
    backward.deterministic = options_.deterministic;
    const bool takes_backward = has_backward && hopper_takes(backward);
    if (takes_backward) {
      hopper_backward(backward, stream_);
      finish(stream_, name + " hopper_backward");
      AttentionBackward again =
          backward_of(typed, inputs, forward_results, second, arena_.take(scratch_bytes));
      again.deterministic = options_.deterministic;
      hopper_backward(again, stream_);
      finish(stream_, name + " hopper_backward, second run");
      for (const Result x : kGradients) {
        compare_bitwise("hopper" + suffix, "gradients", (first.*x).view.data, (second.*x).view.data,
                        (first.*x).stored() * size_of(c.type), options_.deterministic);
      }
    } else if (has_backward) {
      ++not_taken_["hopper_backward" + suffix];
    }
    if (takes_forward) compare_typed("hopper", first, takes_backward);
  }
  finish(stream_, name + " comparing");
  judge(c);
}

/// Documents of exponential lengths that fill `tokens`.
std::vector<int64_t> document_lengths(int64_t tokens, double mean, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::exponential_distribution<double> length(1 / mean);
  std::vector<int64_t> lengths;
  for (int64_t left = tokens; left > 0; left -= lengths.back())
    lengths.push_back(std::clamp<int64_t>(static_cast<int64_t>(length(random)), 1, left));
  return lengths;
}

bool Checker::run() {
  const auto start = Clock::now();
  const auto text_of = [](const std::string& name, int length) {
    const auto number = [&](int divisor) { return std::to_string(length / divisor + 1); };
    const std::map<std::string, std::string> texts = {
        {"causal", "causal"},
        {"full", "full"},
        {"documents", "causal & document"},
        {"window", "sliding_window(" + number(6) + ")"},
        {"irope", "chunk(" + number(5) + ") & document & causal"},
        {"dilated", "causal & dilated(3)"},
        {"whole_documents", "document"},
        // The first queries see nothing.
        {"blind_queries", "causal & ~sliding_window(" + number(3) + ")"},
        {"nothing", "~full"}};
    return texts.at(name);
  };
  const std::vector<Heads> all_heads = {{2, 2}, {8, 2}, {4, 1}};
  const std::vector<Dims> usual_dims = {{64, 64}, {96, 96}, {128, 128}, {192, 128}, {256, 256}};
  const std::vector<Dims> rare_dims = {{8, 8},     {72, 40},   {128, 64}, {160, 160},
                                       {192, 192}, {256, 128}, {33, 17},  {40, 130}};
  int number = 0;
  for (const char* const mask : {"causal", "full", "documents", "window", "irope", "dilated",
                                 "whole_documents", "blind_queries", "nothing"}) {
    for (const int length : {1, 7, 127, 128, 129, 239, 799, 1024}) {
      for (const int batch : {1, 2}) {
        std::vector<SequenceLayout> rows;
        for (int b = 0; b < batch; ++b) {
          rows.push_back(SequenceLayout::from_document_lengths(
              document_lengths(length, length / 4. + 1, 10 + b)));
        }
        // Placed when the first case of it is not filtered out.
        std::unique_ptr<PlacedMask> placed;
        const auto check_one = [&](Heads heads, Dims dims, ElementType type) {
          const Case c{mask, length, batch, heads, dims, type, Layout((number + number / 30) % 3)};
          ++number;
          if (c.name().find(options_.filter) == std::string::npos) return;
          if (placed == nullptr)
            placed = std::make_unique<PlacedMask>(text_of(mask, length), rows,
                                                    options_.deterministic, stream_);
          check_case(c, *placed);
        };
        for (const ElementType type : {ElementType::kBFloat16, ElementType::kFloat16}) {
          for (const Heads heads : all_heads) {
            for (const Dims dims : usual_dims) check_one(heads, dims, type);
          }
          if (length == 129 || length == 239) {
            for (const Dims dims : rare_dims)
              check_one(all_heads[(number + batch) % 3], dims, type);
          }
        }
        if (placed != nullptr) std::fflush(stdout);
      }
    }
  }

  // So many tiles that every block works on several, one after another: what a small case cannot
  // get wrong. Several times, since a race shows only now and then.
  for (const char* const mask : {"causal", "documents", "window", "irope", "blind_queries"}) {
    for (const int length : {3000, 4096}) {
      const std::vector<SequenceLayout> rows(
          2, SequenceLayout::from_document_lengths(document_lengths(length, 500, 3)));
      std::unique_ptr<PlacedMask> placed;
      for (const Heads heads : {Heads{32, 8}, Heads{16, 16}}) {
        for (const Dims dims : {Dims{64, 64}, Dims{128, 128}, Dims{192, 128}, Dims{256, 256}}) {
          for (int again = 0; again < 3; ++again) {
            const Case c{mask, length, 2, heads, dims, ElementType::kBFloat16, Layout(again)};
            if (c.name().find(options_.filter) == std::string::npos) continue;
            if (placed == nullptr)
              placed = std::make_unique<PlacedMask>(text_of(mask, length), rows,
                                                    options_.deterministic, stream_);
            check_case(c, *placed);
          }
        }
      }
    }
  }

  int wrong = 0;
  std::printf(
      "\n| kernel | cases | wrong | out | lse | dq | dk | dv | worst row / bound | second backward "
      "differs |\n|---|---|---|---|---|---|---|---|---|---|\n");
  for (const auto& [kernel, s] : summaries_) {
    wrong += s.wrong;
    std::printf("| %s | %d | %d | %.2g | %.2g | %.2g | %.2g | %.2g | %.2g | %d of %d |\n",
                kernel.c_str(), s.cases, s.wrong, s.out, s.lse, s.grad_q, s.grad_k, s.grad_v, s.row,
                s.backward_repeats_differ, s.repeated);
  }
  for (const auto& [kernel, count] : not_taken_)
    std::printf("not taken: %s in %d cases\n", kernel.c_str(), count);
  std::printf("check: %d wrong, %.0f s\n\n", wrong, seconds_since(start));
  return wrong == 0;
}

// ------------------------------------------------------------------------------------ the times

struct TimedCase {
  int length;
  Heads heads;
  Dims dims;
  const char* name;
  const char* mask;
};

constexpr const char* kCausal = "causal";
constexpr const char* kDocuments = "causal & document";
constexpr const char* kWindow = "sliding_window(1024)";
constexpr const char* kIrope = "causal & document & chunk(2048)";

__global__ void count_differences_kernel(const uint16_t* a, const uint16_t* b, int64_t n,
                                         unsigned long long* count) {
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n;
       i += int64_t{gridDim.x} * blockDim.x)
    if (a[i] != b[i]) atomicAdd(count, 1ULL);
}

/// What `start_once` takes on the stream, in milliseconds: the median.
template <class Start>
double median_ms(cudaStream_t stream, const std::string& name, Start start_once) {
  constexpr int kWarmUps = 3;
  constexpr int kRuns = 10;
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "cudaEventCreate");
  check(cudaEventCreate(&end), "cudaEventCreate");
  std::vector<double> times;
  for (int i = 0; i < kWarmUps + kRuns; ++i) {
    check(cudaEventRecord(begin, stream), "cudaEventRecord");
    start_once();
    check(cudaEventRecord(end, stream), "cudaEventRecord");
    finish(stream, name);
    float ms = 0;
    check(cudaEventElapsedTime(&ms, begin, end), "cudaEventElapsedTime");
    if (i >= kWarmUps) times.push_back(ms);
  }
  check(cudaEventDestroy(begin), "cudaEventDestroy");
  check(cudaEventDestroy(end), "cudaEventDestroy");
  std::sort(times.begin(), times.end());
  return (times[kRuns / 2 - 1] + times[kRuns / 2]) / 2;
}

class Timer {
 public:
  Timer(const Options& options, cudaStream_t stream)
      : options_(options), stream_(stream), arena_(size_t{24} << 30, stream) {}

  /// Whether all results were finite.
  bool run();

 private:
  bool time_case(const TimedCase& c);
  bool are_finite(const std::vector<const Tensor*>& tensors);

  const Options& options_;
  cudaStream_t stream_;
  Arena arena_;
};

bool Timer::are_finite(const std::vector<const Tensor*>& tensors) {
  auto* const score = arena_.take_array<Score>(1);
  check(cudaMemsetAsync(score, 0, sizeof(Score), stream_), "cudaMemsetAsync");
  for (const Tensor* const x : tensors) {
    count_not_finite_kernel<<<blocks_for(x->stored()), kThreads, 0, stream_>>>(
        static_cast<const uint16_t*>(x->view.data), x->type == ElementType::kFloat16, x->stored(),
        score);
    check(cudaGetLastError(), "count_not_finite_kernel");
  }
  finish(stream_, "looking for values that are not finite");
  Score found{};
  check(cudaMemcpy(&found, score, sizeof(Score), cudaMemcpyDeviceToHost), "cudaMemcpy");
  return found.not_finite == 0;
}

bool Timer::time_case(const TimedCase& c) {
  const std::string name = "[" + std::to_string(c.length) + " " + std::to_string(c.heads.heads) +
                           "/" + std::to_string(c.heads.kv_heads) + " " +
                           std::to_string(c.dims.head_dim) + "/" +
                           std::to_string(c.dims.value_dim) + " " + c.name + "]";
  if (name.find(options_.filter) == std::string::npos) return true;
  arena_.give_back_all();
  const PlacedMask placed(
      c.mask, {SequenceLayout::from_document_lengths(document_lengths(c.length, 2048, 1))},
      options_.deterministic, stream_);
  const AttentionShape shape{
      1, c.length, c.length, c.heads.heads, c.heads.kv_heads, c.dims.head_dim, c.dims.value_dim};
  const Problem problem{shape, ElementType::kBFloat16, Layout::kTokens,
                        1 / std::sqrt(static_cast<float>(c.dims.head_dim)), placed.device};
  const Inputs inputs = make_inputs(arena_, problem);
  uint64_t seed = 1;
  for (const Input x : kInputs) fill(inputs.*x, nullptr, ++seed, stream_);
  const Results results = make_results(arena_, problem);
  int* const counter = arena_.take_array<int>(1);
  const AttentionForward forward = forward_of(problem, inputs, results, counter);
  AttentionBackward backward = backward_of(problem, inputs, results, results, nullptr);
  backward.deterministic = options_.deterministic;
  const bool is_hopper = options_.hopper && hopper_takes(forward);
  const bool has_backward = !options_.forward_only;
  if (has_backward) {
    backward.scratch =
        arena_.take(std::max(plain_backward_scratch_bytes(shape),
                             options_.hopper ? hopper_backward_scratch_bytes(shape) : 0));
  }
  const bool is_hopper_backward = has_backward && options_.hopper && hopper_takes(backward);
  finish(stream_, name + " inputs");

  const double forward_ms = median_ms(stream_, name + " forward", [&] {
    is_hopper ? hopper_forward(forward, stream_) : plain_forward(forward, stream_);
  });
  double backward_ms = 0;
  if (has_backward) {
    backward_ms = median_ms(stream_, name + " backward", [&] {
      is_hopper_backward ? hopper_backward(backward, stream_) : plain_backward(backward, stream_);
    });
  }
  std::vector<const Tensor*> made = {&results.out};
  if (has_backward) made.insert(made.end(), {&results.grad_q, &results.grad_k, &results.grad_v});
  const bool finite = are_finite(made);

  if (options_.repeats > 0) {
    // Everything but grad_q is summed in one order, so it has the same bits in every run.
    const auto differences = [&](const char* what, const Tensor& x, const auto& start_once) {
      const int64_t n = x.stored();
      auto* const first = arena_.take_array<uint16_t>(n);
      auto* const count = arena_.take_array<unsigned long long>(1);
      check(cudaMemcpyAsync(first, x.view.data, 2 * n, cudaMemcpyDeviceToDevice, stream_),
            "cudaMemcpyAsync");
      int runs = 0;
      for (int i = 0; i < options_.repeats; ++i) {
        start_once();
        check(cudaMemsetAsync(count, 0, sizeof(*count), stream_), "cudaMemsetAsync");
        count_differences_kernel<<<blocks_for(n), kThreads, 0, stream_>>>(
            first, static_cast<const uint16_t*>(x.view.data), n, count);
        check(cudaGetLastError(), "count_differences_kernel");
        finish(stream_, name + " repeated");
        unsigned long long found = 0;
        check(cudaMemcpy(&found, count, sizeof(found), cudaMemcpyDeviceToHost), "cudaMemcpy");
        if (found == 0) continue;
        if (runs++ < 3)
          std::printf("%s %s: run %d differs in %llu values\n", name.c_str(), what, i, found);
      }
      std::printf("%s %s: %d of %d runs differ\n", name.c_str(), what, runs, options_.repeats);
    };
    differences("out", results.out, [&] { hopper_forward(forward, stream_); });
    if (is_hopper_backward) {
      differences("grad_k", results.grad_k, [&] { hopper_backward(backward, stream_); });
      differences("grad_v", results.grad_v, [&] { hopper_backward(backward, stream_); });
      if (options_.deterministic)
        differences("grad_q", results.grad_q, [&] { hopper_backward(backward, stream_); });
    }
  }

  const double area = static_cast<double>(placed.mask.area());
  const double operations = 2 * area * c.heads.heads * (c.dims.head_dim + c.dims.value_dim);
  const auto rate = [](double work, double ms) { return ms > 0 ? work / ms * 1e-9 : 0; };
  std::printf(
      "| %d | %d/%d | %d/%d | %s | %.4g M | %s%.3f | %.0f | %s%.3f | %.0f | %.2f | %.2f | %.2f | "
      "%.0f | %.1f |%s\n",
      c.length, c.heads.heads, c.heads.kv_heads, c.dims.head_dim, c.dims.value_dim, c.name,
      area * 1e-6, is_hopper ? "" : "plain ", forward_ms, rate(operations, forward_ms),
      !has_backward || is_hopper_backward ? "" : "plain ", backward_ms,
      rate(2.5 * operations, backward_ms), placed.lower_ms, placed.pack_ms, placed.place_ms,
      static_cast<double>(placed.host_bytes) / 1024,
      static_cast<double>(placed.device_bytes) / (1024 * 1024), finite ? "" : " NOT FINITE");
  std::fflush(stdout);
  return finite;
}

bool Timer::run() {
  const std::vector<TimedCase> cases = {
      {8192, {32, 8}, {128, 128}, "causal", kCausal},
      {8192, {32, 8}, {128, 128}, "documents", kDocuments},
      {8192, {32, 8}, {128, 128}, "window", kWindow},
      {8192, {32, 8}, {128, 128}, "irope", kIrope},
      {32768, {32, 8}, {128, 128}, "causal", kCausal},
      {32768, {32, 8}, {128, 128}, "documents", kDocuments},
      {8192, {64, 8}, {128, 128}, "causal", kCausal},
      {32768, {64, 8}, {128, 128}, "causal", kCausal},
      {32768, {64, 8}, {128, 128}, "documents", kDocuments},
      {8192, {16, 16}, {192, 128}, "causal", kCausal},
      {8192, {16, 16}, {192, 128}, "documents", kDocuments},
      {8192, {16, 16}, {192, 128}, "window", kWindow},
      {8192, {16, 16}, {192, 128}, "irope", kIrope},
      {8192, {128, 128}, {192, 128}, "causal", kCausal},
      {8192, {32, 32}, {64, 64}, "causal", kCausal},
      {8192, {32, 32}, {64, 64}, "documents", kDocuments},
      {8192, {32, 32}, {64, 64}, "window", kWindow},
      {8192, {32, 32}, {64, 64}, "irope", kIrope},
  };
  std::printf(
      "| S | heads | dims | mask | area | forward ms | TFLOP/s | backward ms | TFLOP/s | lower ms "
      "| "
      "pack ms | place ms | packed KiB | device MiB |\n"
      "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n");
  bool right = true;
  for (const TimedCase& c : cases) right = time_case(c) && right;
  return right;
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--check") {
      options.check = true;
    } else if (argument == "--time") {
      options.time = true;
    } else if (argument == "--forward-only") {
      options.forward_only = true;
    } else if (argument == "--no-hopper") {
      options.hopper = false;
    } else if (argument == "--deterministic") {
      options.deterministic = true;
    } else if (argument == "--repeats" && i + 1 < argc) {
      options.repeats = std::atoi(argv[++i]);
    } else if (argument == "--filter" && i + 1 < argc) {
      options.filter = argv[++i];
    } else {
      std::fprintf(stderr,
                   "usage: %s [--check] [--time] [--filter TEXT] [--forward-only] [--no-hopper] "
                   "[--deterministic] [--repeats N]\n",
                   argv[0]);
      std::exit(2);
    }
  }
  if (!options.check && !options.time) options.check = options.time = true;
  return options;
}

int run(const Options& options) {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
  std::printf("%s, compute capability %d.%d, %d multiprocessors\n", properties.name,
              properties.major, properties.minor, properties.multiProcessorCount);
  cudaStream_t stream;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
  bool right = true;
  if (options.check) right = Checker(options, stream).run() && right;
  if (options.time) right = Timer(options, stream).run() && right;
  check(cudaStreamDestroy(stream), "cudaStreamDestroy");
  return right ? 0 : 1;
}

}  // namespace
}  // namespace coeus::cuda

int main(int argc, char** argv) {
  try {
    return coeus::cuda::run(coeus::cuda::parse(argc, argv));
  } catch (const std::exception& error) {
    std::printf("STOPPED: %s\n", error.what());
    return 4;
  }
}
