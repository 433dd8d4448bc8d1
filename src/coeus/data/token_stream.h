// A data set as one long stream of tokens, cut into rows.
#pragma once

#include <cstdint>
#include <deque>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <vector>

#include "coeus/data/dataset.h"
#include "coeus/data/text_encoder.h"
#include "coeus/mask/sequence_layout.h"

namespace coeus {

/// TorchTitan's packing: every document becomes BOS, its tokens, EOS (those of the marks that there
/// are), and the documents laid end to end are cut into pieces of seq_len + 1 without overlap.
///
/// The data set must outlive the stream. Both belong to one thread.
class TokenStream {
 public:
  /// With `infinite` the data set starts over when it ends, with a warning in the log. Throws
  /// ConfigError when text has no encoder or an endless data set must end, and DataError for marks
  /// outside the vocabulary.
  TokenStream(Dataset& dataset, TextEncoder encoder, int64_t vocab_size, bool infinite);

  /// Reads until a piece of `size` tokens can be taken; false when the data ends before.
  bool prepare(int64_t size);

  /// Takes the next piece of tokens.size() + 1: the first of them as tokens, the last as labels
  /// (both of one size), and what the tokens carry: index, the document (0, 1, … in the piece) and
  /// the place in it; a document that the piece's start cuts begins anew. prepare(size + 1) must
  /// have been true.
  TokenAttributes take(std::span<int32_t> tokens, std::span<int32_t> labels);
  /// Passes over a prepared piece of `size` tokens.
  void skip(int64_t size);

  /// Tokens taken or passed over since the first epoch's start.
  int64_t tokens_taken() const { return tokens_taken_; }

  /// Everything that decides the tokens to come; small, for it names places and holds no tokens.
  nlohmann::json state() const;
  /// Goes on exactly where `state` was made, perhaps in another piece size. Throws ConfigError,
  /// naming the difference, when the data or its tokens are others, and CheckpointError for what is
  /// no state.
  void load_state(const nlohmann::json& state);

 private:
  // A document, or a part of one, in the buffer; between calls some of its tokens are not taken.
  struct Piece {
    DatasetPosition before;  // the data set's position before it was read
    std::vector<int32_t> tokens;
    bool ends_document = true;
    size_t taken = 0;
    uint64_t hash = 0;  // of the taken tokens
  };

  bool read_document();
  bool start_over();
  // Tokens of the first piece in the buffer; then drop_if_taken must follow.
  std::span<const int32_t> take_run(size_t limit);
  // Drops the first piece if it has no more tokens; whether that was a document's end.
  bool drop_if_taken();

  Dataset& dataset_;
  TextEncoder encoder_;
  int64_t vocab_size_;
  bool infinite_;
  Document document_;
  std::deque<Piece> buffer_;
  int64_t buffered_ = 0;
  int64_t tokens_taken_ = 0;
  bool whole_epoch_ = true;  // the epoch is being read from its start
  bool epoch_has_tokens_ = false;
  bool ended_ = false;
};

}  // namespace coeus
