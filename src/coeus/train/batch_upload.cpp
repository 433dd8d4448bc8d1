#include "coeus/train/batch_upload.h"

#include <c10/core/StreamGuard.h>
#include <torch/types.h>

#include <memory>

#include "coeus/ops/device_attention.h"
#include "coeus/ops/device_stream.h"

namespace coeus {

BatchUploader::BatchUploader(const at::Device& device, bool whole_masks)
    : device_(device), whole_masks_(whole_masks) {
  if (!device.is_cpu()) stream_ = new_stream(device);
}

void BatchUploader::upload(Batch& batch) const {
  auto uploaded = std::make_shared<UploadedBatch>();
  const c10::OptionalStreamGuard guard(stream_);
  uploaded->tensors = batch_tensors(batch, device_);
  DeviceAttention* const attention = device_attention(device_.type());
  if (attention != nullptr && whole_masks_)
    for (const auto& [name, mask] : batch.masks) attention->prepare(mask, device_);
  if (stream_) {
    uploaded->arrived.emplace(device_.type());
    uploaded->arrived->record(*stream_);
  }
  batch.uploaded = std::move(uploaded);
}

BatchTensors tensors_of(const Batch& batch, const at::Device& device) {
  if (!batch.uploaded) return batch_tensors(batch, device);
  const BatchTensors& tensors = batch.uploaded->tensors;
  if (batch.uploaded->arrived) {
    const c10::Stream stream = current_stream(device);
    batch.uploaded->arrived->block(stream);
    // Their memory belongs to the other stream, which must not reuse it before this one is done.
    for (const at::Tensor& tensor :
         {tensors.tokens, tensors.labels, tensors.positions, tensors.images.patches,
          tensors.images.order, tensors.images.places})
      if (tensor.defined()) tensor.record_stream(stream);
  }
  return tensors;
}

}  // namespace coeus
