// Attention on CUDA tensors: memory, streams and masks for the kernels of kernels/cuda/.
#include <ATen/core/CachingHostAllocator.h>
#include <c10/core/Event.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/types.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "coeus/base/error.h"
#include "coeus/cuda/element_type.h"
#include "coeus/cuda/library.h"
#include "coeus/kernels/cuda/attention.h"
#include "coeus/kernels/cuda/mask_image.h"

namespace coeus {

namespace {

constexpr int64_t kWidestHead = 256;

/// Masks on the device, each as long as somebody holds its rows. Every layer of a step asks for the
/// same few. For any thread.
class PlacedMasks {
 public:
  /// For the current stream of the device; with turns in deterministic computation.
  cuda::DeviceMask of(const BlockMask& mask, const at::Device& device) {
    const auto stream = c10::cuda::getCurrentCUDAStream(device.index());
    const bool with_turns = at::globalContext().deterministicAlgorithms();
    if (const auto known = find(mask, stream, with_turns)) return *known;
    Entry entry = place(mask, stream, with_turns);
    const std::lock_guard lock(mutex_);
    std::erase_if(entries_, [](const Entry& old) {
      return std::ranges::any_of(old.rows, [](const auto& row) { return row.expired(); });
    });
    return entries_.emplace_back(std::move(entry)).mask;
  }

 private:
  struct Entry {
    c10::cuda::CUDAStream stream;
    std::vector<std::weak_ptr<const BlockMaskRow>> rows;
    at::Tensor memory;
    cuda::DeviceMask mask;
    bool with_turns;
    c10::Event placed;
  };

  std::optional<cuda::DeviceMask> find(const BlockMask& mask, const c10::cuda::CUDAStream& stream,
                                       bool with_turns) {
    const std::lock_guard lock(mutex_);
    const auto entry = std::ranges::find_if(entries_, [&](const Entry& one) {
      return one.stream.device() == stream.device() && one.with_turns == with_turns &&
             is_of(one, mask);
    });
    if (entry == entries_.end()) return std::nullopt;
    if (entry->stream != stream) {
      entry->placed.block(stream);
      entry->memory.record_stream(stream);
    }
    return entry->mask;
  }

  static bool is_of(const Entry& entry, const BlockMask& mask) {
    if (static_cast<int64_t>(entry.rows.size()) != mask.batch_size()) return false;
    for (int64_t row = 0; row < mask.batch_size(); ++row)
      if (entry.rows[static_cast<size_t>(row)].lock() != mask.shared_row(row)) return false;
    return true;
  }

  static Entry place(const BlockMask& mask, const c10::cuda::CUDAStream& stream, bool with_turns) {
    const cuda::MaskImage image(mask, with_turns);
    const auto bytes = at::TensorOptions().dtype(at::kByte);
    // The host does not wait for a copy from pinned memory alone.
    const at::Tensor packed = at::empty({image.host_bytes()}, bytes.pinned_memory(true));
    std::memcpy(packed.mutable_data_ptr(), image.host_data(), image.host_bytes());
    Entry entry{.stream = stream,
                .rows = {},
                .memory = at::empty({image.device_bytes()}, bytes.device(stream.device())),
                .mask = {},
                .with_turns = with_turns,
                .placed = c10::Event(at::kCUDA)};
    for (int64_t row = 0; row < mask.batch_size(); ++row)
      entry.rows.emplace_back(mask.shared_row(row));
    entry.mask = image.place(entry.memory.mutable_data_ptr(), packed.const_data_ptr(), stream);
    entry.placed.record(stream);
    // The packed one may be given back now, but not be used again before the copy has run.
    at::getHostAllocator(at::kCUDA)->record_event(
        packed.mutable_data_ptr(), packed.storage().data_ptr().get_context(), stream);
    return entry;
  }

  std::mutex mutex_;
  std::vector<Entry> entries_;
};

cuda::AttentionTensor as_operand(const at::Tensor& x) {
  // The kernels' structure serves inputs and outputs; what is an input is not written to.
  return {const_cast<void*>(x.const_data_ptr()), x.stride(0), x.stride(1), x.stride(2)};
}

/// x as it lies where the copy engine can read it, else a copy.
at::Tensor readable(const at::Tensor& x) {
  const bool aligned =
      x.stride(3) == 1 && reinterpret_cast<uintptr_t>(x.const_data_ptr()) % 16 == 0 &&
      x.stride(0) * x.element_size() % 16 == 0 && x.stride(1) * x.element_size() % 16 == 0 &&
      x.stride(2) * x.element_size() % 16 == 0;
  return aligned ? x : x.contiguous();
}

cuda::AttentionShape shape_of(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  return {.batch = static_cast<int>(q.size(0)),
          .queries = static_cast<int>(q.size(1)),
          .keys = static_cast<int>(k.size(1)),
          .heads = static_cast<int>(q.size(2)),
          .kv_heads = static_cast<int>(k.size(2)),
          .head_dim = static_cast<int>(q.size(3)),
          .value_dim = static_cast<int>(v.size(3))};
}

class CudaAttention final : public DeviceAttention {
 public:
  std::string refusal(const at::Tensor& q, const at::Tensor& v) const override {
    if (q.size(3) > kWidestHead || v.size(3) > kWidestHead)
      return fmt::format("head dims up to {}, got {} and {}", kWidestHead, q.size(3), v.size(3));
    const auto dtype = q.scalar_type();
    if (dtype != at::kFloat && dtype != at::kBFloat16 && dtype != at::kHalf)
      return fmt::format("float32, bfloat16 and float16, got {}", c10::toString(dtype));
    return "";
  }

  Kernels kernels(const at::Tensor& q, const at::Tensor& v) const override {
    cuda::AttentionBackward work;
    work.shape = shape_of(q, q, v);
    work.type = element_type(q);
    work.scale = 1;
    if (cuda::hopper_takes(work)) return {"Hopper kernels", true};
    return {"plain kernels", false};
  }

  void prepare(const BlockMask& mask, const at::Device& device) override {
    const c10::cuda::CUDAGuard guard(device);
    masks_.of(mask, device);
  }

  AttentionPart forward(const at::Tensor& q_in, const at::Tensor& k_in, const at::Tensor& v_in,
                        const BlockMask& mask, double scale) override {
    const c10::cuda::CUDAGuard guard(q_in.device());
    const at::Tensor q = readable(q_in), k = readable(k_in), v = readable(v_in);
    const at::Tensor out = at::empty({q.size(0), q.size(1), q.size(2), v.size(3)}, q.options());
    const at::Tensor lse =
        at::empty({q.size(0), q.size(2), q.size(1)}, q.options().dtype(at::kFloat));
    const at::Tensor counter = at::empty({1}, q.options().dtype(at::kInt));
    auto work = work_on<cuda::AttentionForward>(q, k, v, mask, scale);
    work.out = as_operand(out);
    work.lse = lse.mutable_data_ptr<float>();
    work.counter = counter.mutable_data_ptr<int>();
    const auto stream = c10::cuda::getCurrentCUDAStream().stream();
    if (cuda::hopper_takes(work))
      cuda::hopper_forward(work, stream);
    else
      cuda::plain_forward(work, stream);
    return {out, lse};
  }

  AttentionGradients backward(const at::Tensor& grad_out_in, const at::Tensor& q_in,
                              const at::Tensor& k_in, const at::Tensor& v_in,
                              const at::Tensor& out_in, const at::Tensor& lse_in,
                              const BlockMask& mask, double scale) override {
    const c10::cuda::CUDAGuard guard(q_in.device());
    const at::Tensor q = readable(q_in), k = readable(k_in), v = readable(v_in);
    const at::Tensor out = readable(out_in), grad_out = readable(grad_out_in);
    const at::Tensor lse = lse_in.contiguous();
    AttentionGradients grads = {at::empty(q.sizes(), q.options()),
                                at::empty(k.sizes(), k.options()),
                                at::empty(v.sizes(), v.options())};
    auto work = work_on<cuda::AttentionBackward>(q, k, v, mask, scale);
    work.deterministic = at::globalContext().deterministicAlgorithms();
    work.out = as_operand(out);
    work.grad_out = as_operand(grad_out);
    work.lse = lse.const_data_ptr<float>();
    work.grad_q = as_operand(grads.q);
    work.grad_k = as_operand(grads.k);
    work.grad_v = as_operand(grads.v);
    const auto stream = c10::cuda::getCurrentCUDAStream().stream();
    const bool hopper = cuda::hopper_takes(work);
    const at::Tensor scratch = at::empty({hopper ? cuda::hopper_backward_scratch_bytes(work.shape)
                                                 : cuda::plain_backward_scratch_bytes(work.shape)},
                                         q.options().dtype(at::kByte));
    work.scratch = scratch.mutable_data_ptr();
    if (hopper)
      cuda::hopper_backward(work, stream);
    else
      cuda::plain_backward(work, stream);
    return grads;
  }

 private:
  /// What forward and backward are told alike.
  template <class Work>
  Work work_on(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const BlockMask& mask,
               double scale) {
    Work work;
    work.shape = shape_of(q, k, v);
    work.type = element_type(q);
    work.scale = static_cast<float>(scale);
    work.mask = masks_.of(mask, q.device());
    work.q = as_operand(q);
    work.k = as_operand(k);
    work.v = as_operand(v);
    return work;
  }

  PlacedMasks masks_;
};

}  // namespace

DeviceAttention& cuda_attention() {
  // For ever: masks that are still placed when the program ends outlive the driver.
  static auto* const attention = new CudaAttention;
  return *attention;
}

}  // namespace coeus
