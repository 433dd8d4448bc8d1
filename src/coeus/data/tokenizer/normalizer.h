// What a tokenizer does to the text before it is cut into words.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "coeus/data/tokenizer/json_node.h"

namespace coeus {

/// A string on its way through the normalizers.
struct NormalizedText {
  std::string text;
  /// Whether its first character still stems from the first character of the original: the
  /// Metaspace pre-tokenizer's scheme "first" asks.
  bool starts_at_origin = true;
};

/// One or several of NFC, NFD, NFKC, NFKD, Lowercase, Replace, Prepend and Strip, in order.
/// Unicode forms are those of Unicode 9, as in the Hugging Face library; immutable.
class Normalizer {
 public:
  /// No normalizer at all.
  Normalizer() = default;
  /// The `normalizer` of a tokenizer file. Throws DataError for one that is not listed above.
  explicit Normalizer(const JsonNode& node);

  bool empty() const { return steps_.empty(); }
  void apply(NormalizedText& text) const;
  std::string operator()(std::string_view text) const;

  struct Step;

 private:
  void add(const JsonNode& node, int depth);
  std::vector<std::shared_ptr<const Step>> steps_;
};

}  // namespace coeus
