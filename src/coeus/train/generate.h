// Text from a trained model.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "coeus/train/job_config.h"

namespace coeus {

/// How to continue a text.
struct GenerateOptions {
  std::string prompt;
  int64_t max_new_tokens = 100;  ///< unless EOS comes first
  /// What logits are divided by; 0 always takes the likeliest token.
  double temperature = 1.0;
  /// Draw among this many likeliest tokens; 0 for all.
  int64_t top_k = 0;
  uint64_t seed = 0;  ///< of the draws
  /// A checkpoint's folder, a folder of safetensors or one such file. Empty: the newest usable
  /// checkpoint of the run in job.dump_folder.
  std::filesystem::path checkpoint;
};

/// Continues the prompt until EOS or max_new_tokens, and returns prompt and continuation.
/// `on_text`, if given, receives the text piece by piece as it comes. The same options give the
/// same text. Each token goes through the model once (DecodingSession). Throws ConfigError for
/// options out of range, CheckpointError when there are no weights.
std::string generate(const JobConfig& config, const GenerateOptions& options,
                     const std::function<void(const std::string&)>& on_text = {});

/// Draws one token: logits float32 [vocab], `uniform` in (0, 1).
int64_t sample_token(const std::vector<float>& logits, double temperature, int64_t top_k,
                     double uniform);

}  // namespace coeus
