// What the Split pre-tokenizer and the Replace normalizer and decoder look for.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "coeus/data/tokenizer/json_node.h"
#include "coeus/data/tokenizer/regex.h"

namespace coeus {

/// `{"String": …}` or `{"Regex": …}` of a tokenizer file.
class Pattern {
 public:
  /// Throws DataError when the node is neither, is empty, or its expression is not supported.
  explicit Pattern(const JsonNode& node);

  /// Calls `on_match(begin, end)` for each match, left to right.
  template <class OnMatch>
  void for_each_match(std::string_view text, OnMatch&& on_match) const {
    if (regex_) return regex_->for_each_match(text, on_match);
    for (size_t at = text.find(string_); at != std::string_view::npos;
         at = text.find(string_, at + string_.size())) {
      on_match(at, at + string_.size());
    }
  }

 private:
  std::string string_;
  std::optional<Regex> regex_;
};

}  // namespace coeus
