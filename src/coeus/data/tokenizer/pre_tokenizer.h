// Cutting a text into the words that BPE merges within.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "coeus/data/tokenizer/json_node.h"

namespace coeus {

/// A stretch of text on its way through the pre-tokenizers.
struct Piece {
  std::string_view text;
  /// Whether it starts where the whole input starts (Metaspace's scheme "first" asks).
  bool at_origin = false;
};

/// Takes the pieces that a pre-tokenizer cuts, in order. The text lives until take() returns.
class PieceSink {
 public:
  virtual void take(const Piece& piece) = 0;

 protected:
  ~PieceSink() = default;
};

/// One or several of Split, ByteLevel, Digits, Punctuation, Whitespace, WhitespaceSplit and
/// Metaspace, each cutting what the one before it left. Immutable.
class PreTokenizer {
 public:
  /// No pre-tokenizer: the text is one word.
  PreTokenizer() = default;
  /// The `pre_tokenizer` of a tokenizer file. Throws DataError for one that is not listed above.
  explicit PreTokenizer(const JsonNode& node);

  /// True when the last step is ByteLevel. Its pieces are then handed on as the bytes they are, not
  /// in the alphabet that stands for bytes: the model's vocabulary is turned into bytes instead.
  bool yields_bytes() const { return yields_bytes_; }

  void run(const Piece& text, PieceSink& sink) const;

  class Step;

 private:
  void add(const JsonNode& node, int depth);
  void run_from(size_t step, const Piece& text, PieceSink& sink) const;

  std::vector<std::shared_ptr<const Step>> steps_;
  bool yields_bytes_ = false;
};

}  // namespace coeus
