// Documents made by a formula, of tokens with something to learn: no file, no tokenizer.
#pragma once

#include "coeus/data/dataset.h"

namespace coeus {

/// Endless documents of 8 to 511 tokens between BOS = vocab_size - 2 and EOS = vocab_size - 1. Each
/// token is five times the last one plus 1 to 8, modulo vocab_size - 2, the summand drawn by a
/// counter-based generator whose seed is always 0: the same stream in every run.
///
/// Position: the number of the next document.
class SyntheticDataset : public Dataset {
 public:
  /// Throws ConfigError for a vocab_size below 3.
  explicit SyntheticDataset(int64_t vocab_size);

  bool next(Document& document) override;
  void next_epoch() override {}
  std::optional<int64_t> size() const override { return std::nullopt; }
  bool needs_tokenizer() const override { return false; }
  bool is_endless() const override { return true; }
  DatasetPosition position() const override { return {number_}; }
  void seek(const DatasetPosition& position) override;
  nlohmann::json identity() const override;

 private:
  int64_t vocab_size_;
  int64_t number_ = 0;
};

}  // namespace coeus
