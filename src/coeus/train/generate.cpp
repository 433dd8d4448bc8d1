#include "coeus/train/generate.h"

#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>

#include "coeus/base/error.h"
#include "coeus/base/log.h"
#include "coeus/base/random.h"
#include "coeus/checkpoint/checkpointer.h"
#include "coeus/data/images/image_token_ids.h"
#include "coeus/data/tokenizer/tokenizer.h"
#include "coeus/models/registry.h"
#include "coeus/train/decoding_session.h"
#include "coeus/train/job_device.h"
#include "coeus/train/job_model.h"
#include "coeus/train/job_weights.h"
#include "coeus/train/memory_estimate.h"
#include "coeus/train/metrics/device_memory.h"
#include "coeus/train/precision.h"

namespace coeus {

namespace {

void load_chosen_weights(Model& model, const JobConfig& config, const GenerateOptions& options) {
  if (!options.checkpoint.empty()) {
    load_weights(model, config, options.checkpoint);
    return;
  }
  CheckpointConfig checkpoint = config.checkpoint;
  checkpoint.enable = true;
  checkpoint.load_only = true;
  checkpoint.exclude_from_loading.clear();
  Checkpointer checkpointer(checkpoint, config.job.dump_folder);
  if (checkpoint.initial_load_in_hf || checkpoint.last_save_in_hf)
    checkpointer.use_hugging_face(job_hugging_face_format(config), config.model.hf_assets_path);
  const auto loaded = checkpointer.load_model(checkpoint_tensors_of(model));
  COEUS_CHECK_AS(CheckpointError, loaded.has_value(),
                 "[generate] {} holds no checkpoint; train with checkpoint.enable, or name the "
                 "weights with --checkpoint",
                 (std::filesystem::path(config.job.dump_folder) / checkpoint.folder).string());
  log_info("Generating with {}", loaded->path.string());
}

std::vector<float> next_logits(DecodingSession& session, std::span<const int32_t> new_tokens) {
  const at::Tensor last = session.append(new_tokens)[-1].to(at::kCPU, at::kFloat).contiguous();
  COEUS_CHECK_AS(NonFiniteError, at::isfinite(last).all().item<bool>(),
                 "[generate] the logits after {} tokens are not finite; take another checkpoint",
                 session.length());
  const float* first = last.const_data_ptr<float>();
  return {first, first + last.numel()};
}

}  // namespace

int64_t sample_token(const std::vector<float>& logits, double temperature, int64_t top_k,
                     double uniform) {
  std::vector<int64_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  // The lower id first among equals, so that the draw depends on nothing else.
  const auto likelier = [&](int64_t a, int64_t b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  };
  if (temperature == 0) return *std::min_element(order.begin(), order.end(), likelier);
  const auto vocab = static_cast<int64_t>(logits.size());
  const int64_t kept = top_k > 0 ? std::min(top_k, vocab) : vocab;
  std::partial_sort(order.begin(), order.begin() + kept, order.end(), likelier);
  std::vector<double> cumulative;
  double sum = 0;
  for (int64_t i = 0; i < kept; ++i) {
    sum += std::exp((static_cast<double>(logits[order[i]]) - logits[order[0]]) / temperature);
    cumulative.push_back(sum);
  }
  const auto drawn = std::upper_bound(cumulative.begin(), cumulative.end(), uniform * sum);
  return order[std::min<int64_t>(drawn - cumulative.begin(), kept - 1)];
}

std::string generate(const JobConfig& job, const GenerateOptions& options,
                     const std::function<void(const std::string&)>& on_text) {
  const at::Device device = job_device(job);
  JobConfig config = job;
  if (config.model.flavor == kFromHuggingFace && !options.checkpoint.empty())
    config.checkpoint.initial_load_path = options.checkpoint.string();
  COEUS_CHECK_CONFIG(options.temperature >= 0 && std::isfinite(options.temperature),
                     "--temperature must be 0 or more, got {}", options.temperature);
  COEUS_CHECK_CONFIG(options.top_k >= 0, "--top-k must be 0 (all) or more, got {}", options.top_k);
  constexpr int64_t kMostTokens = 1 << 20;
  COEUS_CHECK_CONFIG(options.max_new_tokens >= 1 && options.max_new_tokens <= kMostTokens,
                     "--max-new-tokens must be from 1 to {}, got {}", kMostTokens,
                     options.max_new_tokens);
  at::NoGradGuard no_grad;
  const Tokenizer tokenizer = Tokenizer::from_folder(config.model.hf_assets_path);
  std::vector<int32_t> tokens =
      tokenizer.encode(options.prompt, {.add_bos = tokenizer.bos_id().has_value()});
  COEUS_CHECK_CONFIG(!tokens.empty(),
                     "--prompt is empty and the tokenizer has no BOS to start from");

  const int64_t positions = static_cast<int64_t>(tokens.size()) + options.max_new_tokens;
  const int64_t parameters = parameter_count(*build_job_model(config, at::kMeta, positions));
  const auto element_size =
      static_cast<int64_t>(c10::elementSize(dtype_from_name(config.training.dtype)));
  check_fits({{"parameters", parameters * element_size}}, capacity_bytes_of(device));
  const std::shared_ptr<Model> model = build_job_model(config, device, positions);
  COEUS_CHECK_CONFIG(
      tokenizer.largest_id() < model->vocab_size(),
      "the tokenizer in {} has token ids up to {}, but the model has a vocabulary of "
      "{}",
      config.model.hf_assets_path, tokenizer.largest_id(), model->vocab_size());
  const auto image_token = tokenizer.token_to_id(kImageToken);
  COEUS_CHECK_CONFIG(model->patch_dim() == 0 || !image_token ||
                         std::find(tokens.begin(), tokens.end(), *image_token) == tokens.end(),
                     "--prompt holds {}, and there is no picture to put there: generate continues "
                     "text alone",
                     kImageToken);
  load_chosen_weights(*model, config, options);

  const CounterRandom random(options.seed, "generate");
  std::string text = tokenizer.decode(tokens);
  if (on_text) on_text(text);
  DecodingSession session(*model);
  std::span<const int32_t> new_tokens = tokens;
  for (int64_t i = 0; i < options.max_new_tokens; ++i) {
    const int64_t token = sample_token(next_logits(session, new_tokens), options.temperature,
                                       options.top_k, random.uniform(i));
    if (tokenizer.eos_id() == token) break;
    tokens.push_back(static_cast<int32_t>(token));
    new_tokens = std::span(tokens).last(1);
    const std::string longer = tokenizer.decode(tokens);
    // A character may take several tokens: it is shown once it is whole.
    if (longer.ends_with("\xEF\xBF\xBD")) continue;
    if (on_text && longer.size() > text.size()) on_text(longer.substr(text.size()));
    text = longer;
  }
  return text;
}

}  // namespace coeus
