// What packing needs of a tokenizer.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace coeus {

class Tokenizer;

/// Appends the tokens of a text, without beginning and end marks.
using EncodeFunction = std::function<void(std::string_view text, std::vector<int32_t>& tokens)>;

struct TextEncoder {
  EncodeFunction encode;
  std::optional<int32_t> bos_id;  ///< put before each document
  std::optional<int32_t> eos_id;  ///< and after it
  /// The text of a token, for messages; may be empty.
  std::function<std::string(int32_t)> token_text;
};

/// A tokenizer's text, BOS and EOS.
TextEncoder make_text_encoder(const std::shared_ptr<const Tokenizer>& tokenizer);

}  // namespace coeus
