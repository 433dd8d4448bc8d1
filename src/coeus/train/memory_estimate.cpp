#include "coeus/train/memory_estimate.h"

#include <torch/types.h>

#include <algorithm>

#include "coeus/base/error.h"
#include "coeus/ops/attention.h"
#include "coeus/parallel/activation_checkpoint.h"
#include "coeus/train/precision.h"

namespace coeus {

namespace {

/// What stands in memory at one time beside the parameters and what belongs to them.
struct Peak {
  double activations = 0;
  double scores = 0;
  double bytes() const { return activations + scores; }
};

/// A run's blocks: those that keep their activations and those that compute them again.
struct Blocks {
  double kept = 0;
  double recomputed = 0;
};

bool checks_attention(const JobConfig& config) {
  return attention_engine_from_name(config.attention.engine) == AttentionEngine::kCheck;
}

/// Of a row that context parallelism spreads.
double tokens_of_rank(int64_t seq_len, int64_t cp) {
  return static_cast<double>((seq_len + cp - 1) / cp);
}

/// The share of the model's masks that the reference engine serves or checks, for rows of one
/// document each.
double share_of_reference(const Model& model, const JobConfig& config, int64_t batch_size,
                          int64_t seq_len) {
  const AttentionEngine engine = attention_engine_from_name(config.attention.engine);
  if (engine == AttentionEngine::kReference || engine == AttentionEngine::kCheck) return 1;
  if (engine != AttentionEngine::kAuto) return 0;
  const Model::AttentionShape shape = model.attention_shape();
  const auto without_storage = [&](int64_t width) {
    return at::zeros({1}, dtype_from_name(config.training.mixed_precision_param))
        .expand({batch_size, seq_len, shape.heads, width});
  };
  const std::vector<SequenceLayout> rows(
      batch_size, SequenceLayout::from_document_lengths(std::vector<int64_t>{seq_len}));
  const AttentionMasks masks = model.get_attention_masks(rows);
  double on_reference = 0;
  for (const auto& [name, mask] : masks) {
    const EngineChoice choice = choose_attention_engine(without_storage(shape.key_dim),
                                                        without_storage(shape.value_dim), mask);
    if (choice.engine == AttentionEngine::kReference) on_reference += 1;
  }
  return masks.empty() ? 0 : on_reference / static_cast<double>(masks.size());
}

/// Bytes of one layer's scores of a rank's tokens over all, times as many bytes as a pair of query
/// and key takes in each head.
double dense_scores(const Model& model, const JobConfig& config, int64_t batch_size,
                    int64_t seq_len, int64_t cp, double bytes_a_head) {
  const auto heads = static_cast<double>(model.attention_shape().heads);
  const double pairs =
      static_cast<double>(batch_size) * tokens_of_rank(seq_len, cp) * static_cast<double>(seq_len);
  // The dense mask itself takes a byte, twice.
  return share_of_reference(model, config, batch_size, seq_len) * pairs *
         (heads * bytes_a_head + 2);
}

/// How many of a pass's tokens have logits at one time.
double tokens_with_logits(const JobConfig& config, double tokens) {
  const auto chunk = static_cast<double>(config.training.loss_chunk_size);
  return chunk > 0 ? std::min(chunk, tokens) : tokens;
}

Peak training_peak(const Model& model, const Blocks& blocks, const JobConfig& config,
                   const ParallelDegrees& degrees, const at::Device& device,
                   const Model::ActivationBytes& per_token) {
  const int64_t batch_size = config.training.local_batch_size;
  const int64_t seq_len = config.training.seq_len;
  const double tokens = static_cast<double>(batch_size) * tokens_of_rank(seq_len, degrees.cp);
  // While one recomputed block runs backward, its own activations are there too.
  const double own = blocks.recomputed > 0 ? 1 : 0;
  const double activations = per_token.outside + (blocks.kept + own) * per_token.block +
                             blocks.recomputed * per_token.block_input;
  // A loss by chunks keeps the gradient of its weight, in float32, for backward.
  const int64_t kept_gradient = config.training.loss_chunk_size > 0
                                    ? 4 * model.vocab_size() * model.hidden_size() / degrees.tp
                                    : 0;
  // There the gradient of logits takes their place, unless they are spread over ranks.
  const double of_logits =
      device.is_cpu() || degrees.tp > 1 ? per_token.logits : per_token.logits / 2;
  // The engine keeps two float32 matrices for backward and works on two more.
  const double scores =
      dense_scores(model, config, batch_size, seq_len, degrees.cp, 2 * sizeof(float));
  // Only when it serves: a check keeps nothing of the reference beyond its layer.
  const double keeping = checks_attention(config) ? 1 : blocks.kept + own;
  return {activations * tokens + of_logits * tokens_with_logits(config, tokens) +
              static_cast<double>(kept_gradient),
          scores * (keeping + 1)};
}

Peak validation_peak(const Model& model, const JobConfig& config, int64_t cp,
                     const Model::ActivationBytes& per_token) {
  const ValidationConfig& validation = config.validation;
  if (!validation.enable) return {};
  const double tokens =
      static_cast<double>(validation.local_batch_size) * tokens_of_rank(validation.seq_len, cp);
  // Nothing is kept for backward: one block's at a time, and logits without a gradient.
  return {(per_token.outside / 2 + per_token.block) * tokens +
              per_token.logits / 2 * tokens_with_logits(config, tokens),
          dense_scores(model, config, validation.local_batch_size, validation.seq_len, cp,
                       3 * sizeof(float))};
}

}  // namespace

std::vector<MemoryEntry> estimate_memory(const Model& model, int64_t blocks,
                                         const JobConfig& config, const ParallelDegrees& degrees,
                                         const at::Device& device) {
  const at::ScalarType dtype = dtype_from_name(config.training.dtype);
  blocks = (blocks + degrees.pp - 1) / degrees.pp;
  const int64_t stage_parameters = parameter_count(model) / (degrees.pp * degrees.tp);
  const int64_t parameter_bytes = stage_parameters / (degrees.dp_shard * degrees.cp) *
                                  static_cast<int64_t>(c10::elementSize(dtype));
  const int64_t element_size = static_cast<int64_t>(
      c10::elementSize(dtype_from_name(config.training.mixed_precision_param)));
  const Model::ActivationBytes per_token = model.activation_bytes_per_token(element_size);
  const auto recomputed =
      static_cast<double>(recomputed_blocks(blocks, config.activation_checkpoint));
  const Peak training = training_peak(model, {static_cast<double>(blocks) - recomputed, recomputed},
                                      config, degrees, device, per_token);
  const Peak validation = validation_peak(model, config, degrees.cp, per_token);
  // They are never there at the same time.
  const bool validates_more = validation.bytes() > training.bytes();
  const Peak& peak = validates_more ? validation : training;
  // Autocast keeps a copy of every weight in its own dtype until backward is done.
  const bool casts = config.training.mixed_precision_param != config.training.dtype &&
                     config.training.mixed_precision_param != "float32";
  std::vector<MemoryEntry> entries = {
      {"parameters", parameter_bytes},
      {"gradients", parameter_bytes},
      {"optimizer", 2 * parameter_bytes},
      {"parameters cast by autocast", casts ? stage_parameters * element_size : 0},
      {validates_more ? "validation's activations at their peak (estimate)"
                      : "activations at their peak (estimate)",
       static_cast<int64_t>(peak.activations)}};
  if (peak.scores > 0)
    entries.push_back({fmt::format("dense scores of attention.engine {}",
                                   checks_attention(config) ? "check" : "reference"),
                       static_cast<int64_t>(peak.scores)});
  return entries;
}

void check_fits(const std::vector<MemoryEntry>& estimate, double capacity_bytes) {
  double total = 0;
  for (const MemoryEntry& entry : estimate) total += static_cast<double>(entry.bytes);
  COEUS_CHECK_AS(OutOfMemoryError, capacity_bytes <= 0 || total <= capacity_bytes,
                 "the run would take about {:.1f} GiB of memory and there are {:.1f} GiB; take a "
                 "smaller model.flavor, training.local_batch_size or training.seq_len (or "
                 "validation's, where they are the larger), or activation_checkpoint.mode=full\n{}",
                 total / (1 << 30), capacity_bytes / (1 << 30),
                 memory_table(estimate, "estimated memory"));
}

}  // namespace coeus
