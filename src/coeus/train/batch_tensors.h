#pragma once

#include <ATen/core/Tensor.h>

#include "coeus/data/batch.h"
#include "coeus/models/model.h"

namespace coeus {

/// A batch as the model takes it.
struct BatchTensors {
  at::Tensor tokens;     ///< int64 [batch, seq]
  at::Tensor labels;     ///< int64 [batch, seq]
  at::Tensor positions;  ///< int32 [batch, seq]
  ImageTensors images;
};

/// Copies the batch's arrays into tensors on a device, on its current stream. The host does not
/// wait for that.
BatchTensors batch_tensors(const Batch& batch, const at::Device& device = at::kCPU);

}  // namespace coeus
