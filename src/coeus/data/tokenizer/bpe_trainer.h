// Learning a byte-level BPE vocabulary from text.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace coeus {

struct BpeTrainerOptions {
  /// All tokens together: 256 bytes, merges, special tokens.
  int64_t vocab_size = 2048;
  /// How text is cut into words, and what else the written file says: one of tokenizer_kinds().
  std::string kind = "llama3";
  /// Further special tokens; they come right before BOS and EOS, which are the last two ids.
  std::vector<std::string> special_tokens;
  std::string bos_token = "<|begin_of_text|>";
  std::string eos_token = "<|end_of_text|>";
};

/// llama3, gpt2, qwen2 and deepseek_v3: the pre-tokenizers of those models' published files.
std::vector<std::string> tokenizer_kinds();

/// What training gives: the contents of the two files that Tokenizer::from_folder reads.
struct TrainedBpe {
  std::string tokenizer_json;
  std::string tokenizer_config_json;
  int64_t vocab_size = 0;  ///< smaller than asked for when the text has no more pairs to merge
  int64_t documents = 0;
  int64_t bytes = 0;
  int64_t distinct_words = 0;
};

/// Trains on the documents that `next_document` puts into its argument until it returns false.
/// Invalid UTF-8 is replaced as in Tokenizer. The result depends on the documents and options
/// alone: it is the Hugging Face trainer's (most frequent pair first, of equals the one of lowest
/// ids). Throws Error when the options contradict each other or the text.
TrainedBpe train_bpe(const std::function<bool(std::string&)>& next_document,
                     const BpeTrainerOptions& options);

/// Writes tokenizer.json and tokenizer_config.json into `folder`, which is made if need be.
/// Throws Error when that fails.
void write_tokenizer(const TrainedBpe& trained, const std::filesystem::path& folder);

}  // namespace coeus
