// Text to token ids and back, from the files that Hugging Face models come with.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace coeus {

/// What encode() puts around a text, beyond what the tokenizer's own post-processor puts there.
struct EncodeOptions {
  bool add_bos = false;
  bool add_eos = false;
};

/// A BPE tokenizer read from tokenizer.json and tokenizer_config.json. Gives the ids that the
/// Hugging Face `tokenizers` library gives for the same file. Immutable: any number of threads may
/// use one.
///
/// Text that is not valid UTF-8 is read with each maximal invalid subpart replaced by U+FFFD.
class Tokenizer {
 public:
  /// Reads `folder`/tokenizer.json (or vocab.json and merges.txt: vocab_files.h) and, if it is
  /// there, `folder`/tokenizer_config.json, which names BOS and EOS and may bring special tokens
  /// that tokenizer.json lacks (TorchTitan adds those, too; the entries of tokenizer.json hold
  /// otherwise). Throws DataError, naming file and place, when a file is missing, malformed, or
  /// asks for something that is not supported.
  static Tokenizer from_folder(const std::filesystem::path& folder);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// The ids of `text` with what the post-processor adds. BOS and EOS asked for come on top, unless
  /// the post-processor adds them already or the tokenizer has none (TorchTitan's rule).
  std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options = {}) const;
  /// The ids of `text` alone; special tokens that stand in the text are still found.
  std::vector<int32_t> encode_without_special_tokens(std::string_view text) const;

  /// The text of `ids`. Ids that no token has are passed over, as in the Hugging Face library.
  std::string decode(std::span<const int32_t> ids, bool skip_special_tokens = true) const;

  /// How many tokens there are, added ones included.
  int64_t vocab_size() const;
  /// The largest id of any token: vocab_size() - 1, unless the ids have gaps.
  int32_t largest_id() const;
  /// The tokens named by tokenizer_config.json, if it names them.
  std::optional<int32_t> bos_id() const;
  std::optional<int32_t> eos_id() const;

  std::optional<int32_t> token_to_id(std::string_view token) const;
  /// The token as the vocabulary writes it (GPT-2's byte alphabet in byte-level ones).
  std::optional<std::string> id_to_token(int32_t id) const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<const Impl> impl);
  std::unique_ptr<const Impl> impl_;
};

}  // namespace coeus
