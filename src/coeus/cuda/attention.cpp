// Attention on CUDA tensors: memory, streams and masks for the kernels of kernels/cuda/.
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/types.h>

#include <list>
#include <memory>
#include <vector>

#include "coeus/base/error.h"
#include "coeus/cuda/element_type.h"
#include "coeus/cuda/library.h"
#include "coeus/kernels/cuda/attention.h"
#include "coeus/kernels/cuda/mask_image.h"

namespace coeus {

namespace {

constexpr int64_t kWidestHead = 256;

/// A mask on the device. Every layer of a step asks for the same few, so the last ones are kept.
class PlacedMasks {
 public:
  const cuda::DeviceMask& of(const BlockMask& mask, const at::Tensor& on) {
    std::vector<std::shared_ptr<const BlockMaskRow>> rows;
    for (int64_t row = 0; row < mask.batch_size(); ++row) rows.push_back(mask.shared_row(row));
    for (auto entry = entries_.begin(); entry != entries_.end(); ++entry)
      if (entry->device == on.device() && entry->rows == rows) {
        entries_.splice(entries_.begin(), entries_, entry);
        return entries_.front().placed;
      }
    if (entries_.size() == kMostEntries) entries_.pop_back();
    entries_.push_front(place(mask, std::move(rows), on));
    return entries_.front().placed;
  }

 private:
  struct Entry {
    at::Device device;
    /// Held, so that no other row can come to stand at the same address.
    std::vector<std::shared_ptr<const BlockMaskRow>> rows;
    at::Tensor memory;
    cuda::DeviceMask placed;
  };
  static constexpr size_t kMostEntries = 32;

  static Entry place(const BlockMask& mask, std::vector<std::shared_ptr<const BlockMaskRow>> rows,
                     const at::Tensor& on) {
    const cuda::MaskImage image(mask);
    Entry entry{on.device(),
                std::move(rows),
                at::empty({image.device_bytes()}, on.options().dtype(at::kByte)),
                {}};
    entry.placed = image.place(entry.memory.mutable_data_ptr(), nullptr,
                               c10::cuda::getCurrentCUDAStream().stream());
    return entry;
  }

  std::list<Entry> entries_;
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
    work.mask = masks_.of(mask, q);
    work.q = as_operand(q);
    work.k = as_operand(k);
    work.v = as_operand(v);
    return work;
  }

  PlacedMasks masks_;
};

}  // namespace

DeviceAttention& cuda_attention() {
  static CudaAttention attention;
  return attention;
}

}  // namespace coeus
