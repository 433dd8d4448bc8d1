#include "coeus/train/memory_estimate.h"

#include "coeus/base/error.h"
#include "coeus/parallel/activation_checkpoint.h"
#include "coeus/train/precision.h"

namespace coeus {

std::vector<MemoryEntry> estimate_memory(const Model& model, int64_t blocks,
                                         const JobConfig& config) {
  const at::ScalarType dtype = dtype_from_name(config.training.dtype);
  const int64_t parameter_bytes =
      parameter_count(model) * static_cast<int64_t>(c10::elementSize(dtype));
  const int64_t element_size = static_cast<int64_t>(
      c10::elementSize(dtype_from_name(config.training.mixed_precision_param)));
  const Model::ActivationBytes per_token = model.activation_bytes_per_token(element_size);
  const auto recomputed =
      static_cast<double>(recomputed_blocks(blocks, config.activation_checkpoint));
  const double kept = static_cast<double>(blocks) - recomputed;
  // While one recomputed block runs backward, its own activations are there too.
  const double activations = per_token.outside + kept * per_token.block +
                             recomputed * per_token.block_input +
                             (recomputed > 0 ? per_token.block : 0);
  const auto tokens =
      static_cast<double>(config.training.local_batch_size * config.training.seq_len);
  // Autocast keeps a copy of every weight in its own dtype until backward is done.
  const bool casts = config.training.mixed_precision_param != config.training.dtype &&
                     config.training.mixed_precision_param != "float32";
  return {{"parameters", parameter_bytes},
          {"gradients", parameter_bytes},
          {"optimizer", 2 * parameter_bytes},
          {"parameters cast by autocast", casts ? parameter_count(model) * element_size : 0},
          {"activations at their peak (estimate)", static_cast<int64_t>(activations * tokens)}};
}

void check_fits(const std::vector<MemoryEntry>& estimate, double capacity_bytes) {
  double total = 0;
  for (const MemoryEntry& entry : estimate) total += static_cast<double>(entry.bytes);
  COEUS_CHECK_AS(OutOfMemoryError, capacity_bytes <= 0 || total <= capacity_bytes,
                 "the run would take about {:.1f} GiB of memory and there are {:.1f} GiB; take a "
                 "smaller model.flavor, training.local_batch_size or training.seq_len, or "
                 "activation_checkpoint.mode=full\n{}",
                 total / (1 << 30), capacity_bytes / (1 << 30),
                 memory_table(estimate, "estimated memory"));
}

}  // namespace coeus
