// The data sets that the configuration names, ready to be loaded.
#pragma once

#include <memory>
#include <optional>

#include "coeus/data/loader.h"
#include "coeus/data/tokenizer/tokenizer.h"
#include "coeus/train/job_config.h"

namespace coeus {

/// The tokenizer of model.hf_assets_path; nothing when no data set of the run has text. Throws
/// DataError for a file that cannot be used, and ConfigError for one with more tokens than the
/// model.
std::shared_ptr<const Tokenizer> load_tokenizer(const JobConfig& config, int64_t vocab_size);

/// Which of a job's rows are this rank's: those of number `rank` among `ranks`.
struct DataRank {
  int64_t rank = 0;
  int64_t ranks = 1;
};

/// The loader of [training], endless. `batches_per_step`: see LoaderOptions.
std::unique_ptr<Loader> make_training_loader(const JobConfig& config,
                                             std::shared_ptr<const Tokenizer> tokenizer,
                                             int64_t vocab_size, FinishBatches finish,
                                             const DataRank& rank = {},
                                             int64_t batches_per_step = 1);

/// The loader of [validation], which ends with the data when validation.steps is -1.
std::unique_ptr<Loader> make_validation_loader(const JobConfig& config,
                                               std::shared_ptr<const Tokenizer> tokenizer,
                                               int64_t vocab_size, FinishBatches finish,
                                               const DataRank& rank = {});

}  // namespace coeus
