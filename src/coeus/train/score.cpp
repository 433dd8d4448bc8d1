#include "coeus/train/score.h"

#include <torch/types.h>

#include <algorithm>
#include <fstream>
#include <iostream>
#include <memory>

#include "coeus/base/error.h"
#include "coeus/base/log.h"
#include "coeus/checkpoint/hugging_face_config.h"
#include "coeus/data/images/image_token_ids.h"
#include "coeus/data/tokenizer/tokenizer.h"
#include "coeus/models/hugging_face.h"
#include "coeus/models/registry.h"
#include "coeus/nn/autocast.h"
#include "coeus/train/job_device.h"
#include "coeus/train/job_model.h"
#include "coeus/train/job_weights.h"
#include "coeus/train/memory_estimate.h"
#include "coeus/train/metrics/device_memory.h"
#include "coeus/train/precision.h"
#include "coeus/train/score_batches.h"
#include "coeus/train/score_output.h"

namespace coeus {

namespace {

/// Bounds on a batch: its tokens, and the bytes of its logits. One line may take more.
constexpr int64_t kMostTokens = 8192;
constexpr int64_t kMostLogitBytes = int64_t{1} << 28;
/// Tokens whose logits are taken the logarithm of at once, to keep the copies small.
constexpr int64_t kTokensAtOnce = 256;
/// Above this, a row's places do not fit the attributes that masks are about.
constexpr int64_t kLongestLine = int64_t{1} << 30;

/// [seq] of the natural logarithms of softmax(logits [seq, vocab]) at `labels` [seq].
at::Tensor log_probabilities(const at::Tensor& logits, const at::Tensor& labels) {
  std::vector<at::Tensor> parts;
  for (int64_t begin = 0; begin < logits.size(0); begin += kTokensAtOnce) {
    const int64_t end = std::min(begin + kTokensAtOnce, logits.size(0));
    const at::Tensor part = logits.slice(0, begin, end).to(at::kFloat);
    parts.push_back(part.gather(-1, labels.slice(0, begin, end).unsqueeze(-1)).squeeze(-1) -
                    part.logsumexp(-1));
  }
  return at::cat(parts).contiguous();
}

at::Tensor as_rows(const std::vector<int32_t>& values, int64_t rows, at::ScalarType dtype,
                   const at::Device& device) {
  return at::tensor(at::ArrayRef<int32_t>(values), at::kInt).view({rows, -1}).to(device, dtype);
}

void score_batch(Model& model, const std::vector<ScoreLine>& lines, const ScoreBatch& batch,
                 std::vector<std::vector<float>>& scores) {
  const auto rows = static_cast<int64_t>(batch.lines.size());
  const at::Device device = device_of(model);
  const at::Tensor logits =
      model.forward(as_rows(batch.tokens, rows, at::kLong, device),
                    as_rows(batch.positions, rows, at::kInt, device), batch.masks);
  for (int64_t row = 0; row < rows; ++row) {
    const ScoreLine& line = lines[batch.lines[row]];
    const at::Tensor labels =
        as_rows({line.tokens.begin() + 1, line.tokens.end()}, 1, at::kLong, device).squeeze(0);
    const at::Tensor values =
        log_probabilities(logits[row].slice(0, 0, labels.size(0)), labels).cpu();
    COEUS_CHECK_AS(NonFiniteError, at::isfinite(values).all().item<bool>(),
                   "[score] a log probability of line {} is not finite; take other weights",
                   line.number);
    const float* first = values.const_data_ptr<float>();
    scores[batch.lines[row]].assign(first, first + values.numel());
  }
}

/// Reads the tokenizer when the first text comes.
class LazyTokenizer {
 public:
  LazyTokenizer(std::string folder, const Model& plan)
      : folder_(std::move(folder)),
        vocab_size_(plan.vocab_size()),
        reads_images_(plan.patch_dim() > 0) {}

  std::vector<int32_t> encode(const std::string& text) {
    if (!tokenizer_) {
      tokenizer_ = std::make_unique<Tokenizer>(Tokenizer::from_folder(folder_));
      COEUS_CHECK_CONFIG(tokenizer_->largest_id() < vocab_size_,
                         "the tokenizer in {} has token ids up to {}, but the model has a "
                         "vocabulary of {}",
                         folder_, tokenizer_->largest_id(), vocab_size_);
    }
    const std::vector<int32_t> tokens =
        tokenizer_->encode(text, {.add_bos = tokenizer_->bos_id().has_value()});
    const auto image = tokenizer_->token_to_id(kImageToken);
    COEUS_CHECK_DATA(
        !reads_images_ || !image || std::find(tokens.begin(), tokens.end(), *image) == tokens.end(),
        "--input: a text holds {}, and there is no picture to put there: score takes text alone",
        kImageToken);
    return tokens;
  }

 private:
  std::string folder_;
  int64_t vocab_size_;
  bool reads_images_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

std::vector<ScoreLine> read_input(const JobConfig& config, const std::string& input,
                                  const Model& plan) {
  const int64_t vocab_size = plan.vocab_size();
  LazyTokenizer tokenizer(config.model.hf_assets_path, plan);
  const auto encode = [&](const std::string& text) { return tokenizer.encode(text); };
  if (input == "-") return read_score_lines(std::cin, "standard input", vocab_size, encode);
  std::error_code ignored;
  COEUS_CHECK_DATA(!std::filesystem::is_directory(input, ignored),
                   "--input {}: is a folder; name a file of JSON lines", input);
  std::ifstream file(input, std::ios::binary);
  COEUS_CHECK_DATA(file, "--input {}: cannot be read", input);
  return read_score_lines(file, input, vocab_size, encode);
}

/// How many tokens the model may read at once: what the config.json of a model says that takes its
/// sizes from there. The other flavours' rotary positions have no end.
int64_t longest_line(const JobConfig& config) {
  if (config.model.flavor != kFromHuggingFace) return kLongestLine;
  return hugging_face_value<int64_t>(hugging_face_config_in(hugging_face_folder(config)),
                                     "max_position_embeddings", kLongestLine);
}

const ScoreLine& longest_of(const std::vector<ScoreLine>& lines) {
  return *std::max_element(lines.begin(), lines.end(), [](const auto& a, const auto& b) {
    return a.tokens.size() < b.tokens.size();
  });
}

/// Refuses a line that the model or the memory has no room for.
void check_lengths(const JobConfig& config, const std::string& input, const Model& plan,
                   const at::Device& device, const std::vector<ScoreLine>& lines) {
  const int64_t most = longest_line(config);
  for (const ScoreLine& line : lines)
    COEUS_CHECK_DATA(static_cast<int64_t>(line.tokens.size()) - 1 <= most,
                     "{}:{}: {} tokens, of which the model reads all but the last; it knows {} "
                     "positions (max_position_embeddings); cut the line",
                     input, line.number, line.tokens.size(), most);
  const ScoreLine& longest = longest_of(lines);
  const int64_t size =
      static_cast<int64_t>(c10::elementSize(dtype_from_name(config.training.dtype)));
  const auto tokens = static_cast<int64_t>(longest.tokens.size());
  const std::vector<MemoryEntry> estimate = {
      {"parameters", parameter_count(plan) * size},
      {"logits", std::max(kMostLogitBytes, 2 * tokens * plan.vocab_size() * size)}};
  try {
    check_fits(estimate, capacity_bytes_of(device));
  } catch (const OutOfMemoryError&) {
    throw OutOfMemoryError(fmt::format(
        "[score] {} {} with {}:{}, the longest line, of {} tokens, does not fit into memory; take "
        "a smaller model or cut the line\n{}",
        config.model.name, config.model.flavor, input, longest.number, tokens,
        memory_table(estimate, "estimated memory")));
  }
}

void load_or_draw_weights(Model& model, const JobConfig& config) {
  const bool in_assets =
      config.checkpoint.initial_load_in_hf || config.model.flavor == kFromHuggingFace;
  if (config.checkpoint.initial_load_path || in_assets) {
    const std::filesystem::path path = hugging_face_folder(config);
    load_weights(model, config, path);
    log_info("Scoring with {}", path.string());
    return;
  }
  const int64_t seed = config.training.seed.value_or(0);
  log_warning(
      "checkpoint.initial_load_path is not set: scoring with untrained weights, drawn by "
      "training.seed = {}",
      seed);
  model.init_weights(static_cast<uint64_t>(seed));
}

}  // namespace

std::vector<std::vector<float>> score_lines(Model& model, const std::vector<ScoreLine>& lines,
                                            Positions positions) {
  const at::NoGradGuard no_grad;
  const int64_t most_tokens = std::min(
      kMostTokens, kMostLogitBytes / (static_cast<int64_t>(sizeof(float)) * model.vocab_size()));
  std::vector<std::vector<float>> scores(lines.size());
  for (const std::vector<size_t>& group : group_by_length(lines, most_tokens))
    for (const ScoreBatch& batch : make_score_batches(model, lines, group, positions))
      score_batch(model, lines, batch, scores);
  return scores;
}

ScoreSummary summarize_scores(const std::vector<ScoreLine>& lines,
                              const std::vector<std::vector<float>>& scores) {
  ScoreSummary summary = {.lines = static_cast<int64_t>(lines.size())};
  double sum = 0, first_tokens = 0;
  int64_t first_token_count = 0;
  for (size_t i = 0; i < lines.size(); ++i) {
    summary.tokens += static_cast<int64_t>(scores[i].size());
    for (const float score : scores[i]) sum -= score;
    int64_t begin = 0;
    for (const int64_t length : lines[i].documents) {
      if (begin > 0) {
        first_tokens -= scores[i][begin - 1];
        ++first_token_count;
      }
      begin += length;
    }
  }
  summary.tokens_within_documents = summary.tokens - first_token_count;
  summary.loss = sum / static_cast<double>(summary.tokens);
  summary.loss_within_documents =
      (sum - first_tokens) / static_cast<double>(summary.tokens_within_documents);
  return summary;
}

ScoreSummary score(const JobConfig& config, const ScoreOptions& options) {
  const at::Device device = job_device(config);
  const std::shared_ptr<Model> plan = build_job_model(config, at::kMeta);
  // Made before the work, so that it is not done in vain.
  WholeFile output(options.output);
  const std::vector<ScoreLine> lines = read_input(config, options.input, *plan);
  check_lengths(config, options.input, *plan, device, lines);

  const auto longest = static_cast<int64_t>(longest_of(lines).tokens.size());
  const std::shared_ptr<Model> model =
      build_job_model(config, device, std::max<int64_t>(longest, 1));
  load_or_draw_weights(*model, config);
  const nn::Autocast autocast(dtype_from_name(options.precision));
  const auto scores = score_lines(
      *model, lines,
      config.training.positions == "document" ? Positions::kDocument : Positions::kSequence);
  for (size_t i = 0; i < lines.size(); ++i)
    output.stream() << score_line_json(lines[i], scores[i]) << '\n';
  output.finish();
  return summarize_scores(lines, scores);
}

}  // namespace coeus
