// The engine block_sparse on devices besides the CPU: what their libraries bring along.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "coeus/mask/block_mask.h"
#include "coeus/ops/attention_part.h"

namespace coeus {

/// Block-sparse flash attention on one kind of device. Arguments as in coeus::attention, checked.
class DeviceAttention {
 public:
  virtual ~DeviceAttention() = default;
  /// Why it does not take such tensors (k is as wide as q): "head dims up to 256, got 320". Empty
  /// when it does.
  virtual std::string refusal(const at::Tensor& q, const at::Tensor& v) const = 0;
  /// Which of the device's kernels takes such tensors, for reports ("Hopper kernels"), and whether
  /// it is fast or merely right.
  struct Kernels {
    std::string name;
    bool fast = true;
  };
  virtual Kernels kernels(const at::Tensor& q, const at::Tensor& v) const = 0;
  /// Takes a mask to the device ahead of the first call under it, on the current stream, and from
  /// any thread: calls on other streams wait for it there. It stays as long as the mask does.
  virtual void prepare(const BlockMask& mask, const at::Device& device) = 0;
  /// Queues the work on the current stream.
  virtual AttentionPart forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                const BlockMask& mask, double scale) = 0;
  virtual AttentionGradients backward(const at::Tensor& grad_out, const at::Tensor& q,
                                      const at::Tensor& k, const at::Tensor& v,
                                      const at::Tensor& out, const at::Tensor& lse,
                                      const BlockMask& mask, double scale) = 0;
};

/// Makes `attention`, which lives as long as the process, that of a kind of device.
void set_device_attention(at::DeviceType device, DeviceAttention* attention);
/// That of a kind of device; null where none is set, as for the CPU.
DeviceAttention* device_attention(at::DeviceType device);

}  // namespace coeus
