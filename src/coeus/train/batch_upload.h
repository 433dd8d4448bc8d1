// Batches on their way to the device that trains, ahead of the step that needs them.
#pragma once

#include <c10/core/Event.h>
#include <c10/core/Stream.h>

#include <optional>

#include "coeus/data/batch.h"
#include "coeus/train/batch_tensors.h"

namespace coeus {

/// What Batch::uploaded points to.
struct UploadedBatch {
  BatchTensors tensors;
  std::optional<c10::Event> arrived;  ///< none on the CPU
};

/// Uploads batches to a device on a stream of its own.
class BatchUploader {
 public:
  /// `whole_masks`: layers attend under a batch's masks as they are, not under parts of them as in
  /// pipeline and context parallelism.
  BatchUploader(const at::Device& device, bool whole_masks);

  /// Sets `batch.uploaded`, and has the device's attention prepare whole masks. Called in the
  /// loader's thread, on batches whose masks are made.
  void upload(Batch& batch) const;

 private:
  at::Device device_;
  bool whole_masks_;
  std::optional<c10::Stream> stream_;  ///< none for the CPU
};

/// The batch's tensors for what this thread's stream of the device does next: those that were
/// uploaded, else copied now. The host waits for neither.
BatchTensors tensors_of(const Batch& batch, const at::Device& device);

}  // namespace coeus
