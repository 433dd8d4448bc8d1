// The special tokens that a tokenizer file puts around every text.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "coeus/data/tokenizer/json_node.h"

namespace coeus {

/// TemplateProcessing for a single sequence, ByteLevel (which changes offsets only, so nothing
/// here) and Sequences of them. Immutable.
class PostProcessor {
 public:
  PostProcessor() = default;
  /// The `post_processor` of a tokenizer file. Throws DataError for one that is not listed above.
  explicit PostProcessor(const JsonNode& node);

  /// Whether ids come out as they went in.
  bool empty() const { return !template_.has_value(); }
  /// `ids` with the template's special tokens, or, if not `special_tokens`, without.
  std::vector<int32_t> operator()(std::span<const int32_t> ids, bool special_tokens = true) const;

 private:
  void add(const JsonNode& node, int depth);
  void add_template(const JsonNode& node);

  struct Item {
    bool sequence = false;
    std::vector<int32_t> ids;
  };
  std::optional<std::vector<Item>> template_;
};

}  // namespace coeus
