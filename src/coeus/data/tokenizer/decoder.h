// From tokens back to text.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "coeus/data/tokenizer/json_node.h"

namespace coeus {

/// One or several of ByteLevel, ByteFallback, Fuse, Strip, Replace and Metaspace, in order.
/// Immutable.
class Decoder {
 public:
  /// No decoder: tokens are joined with spaces, as the Hugging Face library does.
  Decoder() = default;
  /// The `decoder` of a tokenizer file. Throws DataError for one that is not listed above.
  explicit Decoder(const JsonNode& node);

  std::string operator()(std::vector<std::string> tokens) const;

  class Step;

 private:
  void add(const JsonNode& node, int depth);
  std::vector<std::shared_ptr<const Step>> steps_;
  bool present_ = false;
};

}  // namespace coeus
