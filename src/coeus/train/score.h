// The probabilities that a model gives to given tokens.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "coeus/data/loader.h"
#include "coeus/models/model.h"
#include "coeus/train/job_config.h"
#include "coeus/train/score_input.h"

namespace coeus {

/// How to score a file.
struct ScoreOptions {
  std::string input;                  ///< JSON lines (see read_score_lines); "-": standard input
  std::string output;                 ///< JSON lines; "-": standard output
  std::string precision = "float32";  ///< of matrix products; or "bfloat16", as training's autocast
};

/// What the scores amount to.
struct ScoreSummary {
  int64_t lines = 0;
  /// Scored tokens (all but the first of each line) and the mean of their -log probability.
  int64_t tokens = 0;
  double loss = 0;
  /// The same without the first tokens of later documents, which only training counts.
  int64_t tokens_within_documents = 0;
  double loss_within_documents = 0;
};

/// The natural logarithms of the probabilities of each line's tokens after the first: entry i is
/// that of token i + 1, as the model predicts it at token i, from what that one sees under the
/// model's masks. So the first token of a later document is predicted at the last one of the
/// document before, as in training. Lines of about one length are computed together; what they are
/// padded with is hidden from them under every mask. Throws NonFiniteError that names the line.
std::vector<std::vector<float>> score_lines(Model& model, const std::vector<ScoreLine>& lines,
                                            Positions positions);

/// Sums the scores up.
ScoreSummary summarize_scores(const std::vector<ScoreLine>& lines,
                              const std::vector<std::vector<float>>& scores);

/// Scores every line of options.input by the model that the configuration names, with the weights
/// of checkpoint.initial_load_path (or, for Hugging Face's, model.hf_assets_path), else those that
/// training.seed draws, which a warning says. No run in job.dump_folder is looked at.
/// Writes {"logprobs": […]} a line in the order of the input, for texts their "tokens" too; the
/// output appears whole or not at all. Throws ConfigError, DataError, CheckpointError,
/// OutOfMemoryError or NonFiniteError.
ScoreSummary score(const JobConfig& config, const ScoreOptions& options);

}  // namespace coeus
