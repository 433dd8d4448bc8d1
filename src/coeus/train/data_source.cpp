#include "coeus/train/data_source.h"

#include <algorithm>

#include "coeus/base/error.h"
#include "coeus/data/images/image_token_ids.h"
#include "coeus/data/text_encoder.h"

namespace coeus {

namespace {

bool has_text(const std::string& dataset) { return dataset != "synthetic"; }

bool wants_tokenizer(const JobConfig& config) {
  const TrainingConfig& training = config.training;
  bool wanted = training.mixture.empty() && has_text(training.dataset);
  for (const auto& entry : training.mixture) wanted = wanted || has_text(entry.dataset);
  return wanted || (config.validation.enable && has_text(config.validation.dataset));
}

uint64_t seed_of(const JobConfig& config) {
  return static_cast<uint64_t>(config.training.seed.value_or(0));
}

bool has_images(const DatasetOptions& options) {
  return is_image_dataset(options.name) ||
         std::ranges::any_of(options.mixture, is_image_dataset, &MixtureEntry::dataset);
}

/// How rows with images are made; nothing for a data set without.
std::optional<ImageRowOptions> image_rows(const JobConfig& config, const DatasetOptions& dataset,
                                          int64_t local_batch_size, const Tokenizer* tokenizer) {
  if (!has_images(dataset)) return std::nullopt;
  COEUS_ASSERT(tokenizer != nullptr);
  const ImageDataConfig& data = config.data;
  return ImageRowOptions{.patch_size = data.patch_size,
                         .max_patches_per_image = data.max_patches_per_image,
                         .max_images_per_row = data.max_images_per_batch / local_batch_size,
                         .packing_buffer_size = data.packing_buffer_size,
                         .tokens = image_token_ids(*tokenizer)};
}

}  // namespace

std::shared_ptr<const Tokenizer> load_tokenizer(const JobConfig& config, int64_t vocab_size) {
  if (!wants_tokenizer(config)) return nullptr;
  auto tokenizer =
      std::make_shared<const Tokenizer>(Tokenizer::from_folder(config.model.hf_assets_path));
  COEUS_CHECK_CONFIG(
      tokenizer->largest_id() < vocab_size,
      "the tokenizer in {} has token ids up to {}, but {} {} has a vocabulary of {}; "
      "use the tokenizer that the model was made for",
      config.model.hf_assets_path, tokenizer->largest_id(), config.model.name, config.model.flavor,
      vocab_size);
  return tokenizer;
}

std::unique_ptr<Loader> make_training_loader(const JobConfig& config,
                                             std::shared_ptr<const Tokenizer> tokenizer,
                                             int64_t vocab_size, FinishBatches finish,
                                             const DataRank& rank, int64_t batches_per_step) {
  const TrainingConfig& training = config.training;
  DatasetOptions dataset = {
      .shuffle = training.shuffle, .seed = seed_of(config), .vocab_size = vocab_size};
  if (training.mixture.empty()) {
    dataset.name = training.dataset;
    dataset.path = training.dataset_path.value_or("");
  }
  for (const auto& entry : training.mixture)
    dataset.mixture.push_back({entry.dataset, entry.path.value_or(""), entry.weight});
  const LoaderOptions options = {
      .seq_len = training.seq_len,
      .local_batch_size = training.local_batch_size,
      .dp_rank = rank.rank,
      .dp_world = rank.ranks,
      .vocab_size = vocab_size,
      .positions = training.positions == "document" ? Positions::kDocument : Positions::kSequence,
      .batches_per_step = batches_per_step,
      .images = image_rows(config, dataset, training.local_batch_size, tokenizer.get())};
  return std::make_unique<Loader>(make_dataset(dataset),
                                  tokenizer ? make_text_encoder(tokenizer) : TextEncoder{}, options,
                                  std::move(finish));
}

std::unique_ptr<Loader> make_validation_loader(const JobConfig& config,
                                               std::shared_ptr<const Tokenizer> tokenizer,
                                               int64_t vocab_size, FinishBatches finish,
                                               const DataRank& rank) {
  const ValidationConfig& validation = config.validation;
  const DatasetOptions dataset = {.name = validation.dataset,
                                  .path = validation.dataset_path.value_or(""),
                                  .seed = seed_of(config),
                                  .vocab_size = vocab_size};
  const LoaderOptions options = {
      .seq_len = validation.seq_len,
      .local_batch_size = validation.local_batch_size,
      .dp_rank = rank.rank,
      .dp_world = rank.ranks,
      .vocab_size = vocab_size,
      .positions =
          config.training.positions == "document" ? Positions::kDocument : Positions::kSequence,
      .infinite = validation.steps != -1,
      .images = image_rows(config, dataset, validation.local_batch_size, tokenizer.get())};
  return std::make_unique<Loader>(make_dataset(dataset),
                                  tokenizer ? make_text_encoder(tokenizer) : TextEncoder{}, options,
                                  std::move(finish));
}

}  // namespace coeus
