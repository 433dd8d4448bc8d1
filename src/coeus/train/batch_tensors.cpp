#include "coeus/train/batch_tensors.h"

#include <torch/types.h>

namespace coeus {

namespace {

at::Tensor as_tensor(const std::vector<int32_t>& values, const Batch& batch, at::ScalarType dtype) {
  // from_blob takes no const; nothing writes through it before the copy.
  const at::Tensor view = at::from_blob(const_cast<int32_t*>(values.data()),
                                        {batch.batch_size, batch.seq_len}, at::kInt);
  return view.to(dtype, /*non_blocking=*/false, /*copy=*/true);
}

ImageTensors image_tensors(const ImagePatches& images) {
  ImageTensors tensors = {.patches = {}, .grids = images.grids, .token = images.token, .order = {}};
  if (images.patches() == 0) return tensors;
  if (!images.order.empty()) tensors.order = at::tensor(images.order, at::kLong);
  tensors.patches = at::from_blob(const_cast<float*>(images.values.data()),
                                  {1, images.patches(), images.patch_dim}, at::kFloat)
                        .clone();
  return tensors;
}

}  // namespace

BatchTensors batch_tensors(const Batch& batch, const at::Device& device) {
  BatchTensors tensors = {as_tensor(batch.tokens, batch, at::kLong),
                          as_tensor(batch.labels, batch, at::kLong),
                          as_tensor(batch.positions, batch, at::kInt), image_tensors(batch.images)};
  if (device.is_cpu()) return tensors;
  for (at::Tensor* tensor : {&tensors.tokens, &tensors.labels, &tensors.positions,
                             &tensors.images.patches, &tensors.images.order})
    if (tensor->defined()) *tensor = tensor->to(device);
  return tensors;
}

}  // namespace coeus
