// The sections of the loop itself: [training] and [validation].
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace coeus {

class ConfigSection;

/// One data set of training.mixture.
struct MixtureEntryConfig {
  std::string dataset;
  std::optional<std::string> path;
  double weight = 1.0;  ///< share of the documents, relative to the other entries
  bool operator==(const MixtureEntryConfig&) const = default;
};

/// [training].
struct TrainingConfig {
  std::string dataset = "c4_test";
  std::optional<std::string> dataset_path;
  std::int64_t local_batch_size = 8;    ///< rows of one forward and backward pass on a rank
  std::int64_t global_batch_size = -1;  ///< rows of one step; -1: local_batch_size x ranks of data
  std::int64_t seq_len = 2048;          ///< tokens of a row
  double max_norm = 1.0;                ///< gradients are clipped to this norm
  std::int64_t steps = 10000;
  bool enable_cpu_offload = false;
  std::string dtype = "float32";                   ///< "float32" or "bfloat16"
  std::string mixed_precision_param = "bfloat16";  ///< "bfloat16" or "float32"
  std::string mixed_precision_reduce = "float32";
  std::int64_t gc_freq = 50;
  bool gc_debug = false;
  std::optional<std::int64_t> seed;
  bool deterministic = false;
  bool debug_moe_force_load_balance = false;
  std::int64_t loss_chunk_size = 0;         ///< tokens; 0: all at once; coeus's own key
  std::string positions = "sequence";       ///< "sequence" or "document"; coeus's own key
  bool shuffle = false;                     ///< by training.seed; coeus's own key
  std::vector<MixtureEntryConfig> mixture;  ///< replaces dataset; coeus's own key
  bool operator==(const TrainingConfig&) const = default;
};

/// [validation].
struct ValidationConfig {
  bool enable = false;
  std::string dataset = "c4_validation";
  std::optional<std::string> dataset_path;
  std::int64_t local_batch_size = 8;
  std::int64_t seq_len = 2048;
  std::int64_t freq = 10;   ///< steps
  std::int64_t steps = -1;  ///< batches of one validation; -1: the whole data set
  bool operator==(const ValidationConfig&) const = default;
};

/// Name the sections' keys, their meaning and their allowed values to the configuration reader.
void describe(MixtureEntryConfig& config, ConfigSection& section);
void describe(TrainingConfig& config, ConfigSection& section);
void describe(ValidationConfig& config, ConfigSection& section);

}  // namespace coeus
