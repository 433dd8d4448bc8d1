#include "coeus/data/token_check.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "coeus/base/error.h"

namespace coeus {

using nlohmann::json;

void check_encoder(const Dataset& dataset, const TextEncoder& encoder, int64_t vocab_size) {
  COEUS_CHECK_CONFIG(vocab_size >= 1, "[data] vocab_size must be at least 1, got {}", vocab_size);
  COEUS_CHECK_CONFIG(encoder.encode || !dataset.needs_tokenizer(),
                     "[data] data set {} is text and needs a tokenizer; set model.hf_assets_path",
                     dataset.name());
  for (auto [name, mark] : {std::pair("BOS", encoder.bos_id), {"EOS", encoder.eos_id}}) {
    COEUS_CHECK_DATA(!mark || (*mark >= 0 && *mark < vocab_size),
                     "[data] the tokenizer's {} is token {}, but the model's vocab_size is {}; use "
                     "the model's own tokenizer or raise vocab_size",
                     name, mark.value_or(0), vocab_size);
  }
}

void check_tokens(const Document& document, std::span<const int32_t> tokens,
                  const TextEncoder& encoder, int64_t vocab_size) {
  auto limit = static_cast<uint32_t>(std::min<int64_t>(vocab_size, int64_t{1} << 31));
  // Negative ids are large as unsigned ones.
  auto bad = std::ranges::find_if(
      tokens, [=](int32_t token) { return static_cast<uint32_t>(token) >= limit; });
  if (bad == tokens.end()) return;
  std::string text =
      encoder.token_text && *bad >= 0
          ? fmt::format(
                " ({})",
                json(encoder.token_text(*bad)).dump(-1, ' ', false, json::error_handler_t::replace))
          : "";
  throw DataError(fmt::format(
      "[data] {}: the tokenizer gives token {}{}, but the model's vocab_size is {} (tokens 0 to "
      "{}); use the model's own tokenizer or raise vocab_size",
      describe_place(document), *bad, text, vocab_size, vocab_size - 1));
}

}  // namespace coeus
