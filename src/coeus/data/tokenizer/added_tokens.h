// The tokens that stand beside the model's vocabulary: found in the text before anything else.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "coeus/data/tokenizer/bpe.h"
#include "coeus/data/tokenizer/json_node.h"
#include "coeus/data/tokenizer/normalizer.h"
#include "coeus/data/tokenizer/token_matcher.h"

namespace coeus {

/// An entry of a tokenizer file's `added_tokens`.
struct AddedToken {
  std::string content;
  bool single_word = false;  ///< only where no word character stands beside it
  bool lstrip = false;       ///< takes the white space on its left
  bool rstrip = false;       ///< takes the white space on its right
  bool normalized = false;   ///< looked for, normalized itself, in the normalized text
  bool special = false;      ///< left out when decoding
};

/// All added tokens of a tokenizer.
class AddedTokens {
 public:
  /// What tokens are added to.
  struct Base {
    const Vocabulary& vocabulary;
    const std::vector<std::string>& tokens;  ///< the vocabulary by id
    const Normalizer& normalizer;
  };

  /// Adds the `added_tokens` of a tokenizer file. A token that the model knows has the model's id,
  /// whatever its entry says; one that it does not know gets the next free id (as in the Hugging
  /// Face library; a warning says when that is not the id of the entry).
  void add_from_file(const JsonNode& list, const Base& base);
  /// Adds those that are not there yet, in the same way. Throws std::invalid_argument when one
  /// cannot be.
  void add_missing(const std::vector<AddedToken>& tokens, const Base& base);

  /// A stretch of text, or a token found in it.
  struct Section {
    size_t begin;
    size_t end;
    std::optional<int32_t> id;
  };
  /// Cuts a text at the tokens that are looked for in the text as it is.
  std::vector<Section> cut_raw(std::string_view text) const { return cut(text, raw_); }
  /// Cuts a normalized text at the tokens that are looked for there.
  std::vector<Section> cut_normalized(std::string_view text) const {
    return cut(text, normalized_);
  }
  bool any_raw() const { return !raw_.empty(); }
  bool any_normalized() const { return !normalized_.empty(); }

  const std::map<int32_t, AddedToken>& by_id() const { return by_id_; }
  /// The token as the decoder gets it: normalized, if it is looked for so.
  std::optional<std::string_view> text_of(int32_t id) const;
  std::optional<int32_t> id_of(std::string_view token) const;
  bool is_special(std::string_view token) const { return specials_.contains(std::string(token)); }

 private:
  int32_t insert(const AddedToken& token, const Base& base);
  std::vector<Section> cut(std::string_view text, const TokenMatcher& matcher) const;

  std::map<int32_t, AddedToken> by_id_;
  std::map<int32_t, std::string> normalized_texts_;
  Vocabulary ids_;
  std::unordered_set<std::string> specials_;
  TokenMatcher raw_;
  TokenMatcher normalized_;
};

}  // namespace coeus
