#include "coeus/train/batch_tensors.h"

#include <torch/types.h>

namespace coeus {

namespace {

template <class T>
at::Tensor as_tensor(const std::vector<T>& values, at::IntArrayRef sizes, at::ScalarType dtype,
                     const at::Device& device) {
  // from_blob takes no const; nothing writes through it.
  const at::Tensor view =
      at::from_blob(const_cast<T*>(values.data()), sizes, c10::CppTypeToScalarType<T>::value);
  // The host does not wait for a copy from pinned memory alone.
  const bool pinned = !device.is_cpu();
  const at::Tensor on_host =
      at::empty(sizes, at::TensorOptions().dtype(dtype).pinned_memory(pinned)).copy_(view);
  return on_host.to(device, /*non_blocking=*/true);
}

/// Where a token stands among others.
std::vector<int64_t> places_of(int32_t token, const std::vector<int32_t>& tokens) {
  std::vector<int64_t> places;
  for (size_t i = 0; i < tokens.size(); ++i)
    if (tokens[i] == token) places.push_back(static_cast<int64_t>(i));
  return places;
}

ImageTensors image_tensors(const Batch& batch, const at::Device& device) {
  const ImagePatches& images = batch.images;
  ImageTensors tensors;
  tensors.grids = images.grids;
  tensors.token = images.token;
  const auto numbers = [&](const std::vector<int64_t>& values) {
    return as_tensor(values, {static_cast<int64_t>(values.size())}, at::kLong, device);
  };
  if (images.token >= 0) tensors.places = numbers(places_of(images.token, batch.tokens));
  if (images.patches() == 0) return tensors;
  if (!images.order.empty()) tensors.order = numbers(images.order);
  tensors.patches =
      as_tensor(images.values, {1, images.patches(), images.patch_dim}, at::kFloat, device);
  return tensors;
}

}  // namespace

BatchTensors batch_tensors(const Batch& batch, const at::Device& device) {
  const auto rows = [&](const std::vector<int32_t>& values, at::ScalarType dtype) {
    return as_tensor(values, {batch.batch_size, batch.seq_len}, dtype, device);
  };
  return {rows(batch.tokens, at::kLong), rows(batch.labels, at::kLong),
          rows(batch.positions, at::kInt), image_tensors(batch, device)};
}

}  // namespace coeus
