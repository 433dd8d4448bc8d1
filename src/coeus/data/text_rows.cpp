#include "coeus/data/text_rows.h"

#include <nlohmann/json.hpp>

#include "coeus/base/error.h"

namespace coeus {

TextRows::TextRows(Dataset& dataset, TextEncoder encoder, int64_t vocab_size, int64_t seq_len,
                   bool infinite)
    : dataset_(dataset),
      seq_len_(seq_len),
      stream_(dataset, std::move(encoder), vocab_size, infinite) {}

bool TextRows::prepare() {
  if (stream_.prepare(seq_len_ + 1)) return true;
  COEUS_CHECK_DATA(stream_.tokens_taken() > 0,
                   "[loader] data set {} has fewer than {} tokens, which one row of seq_len {} "
                   "needs; shorten seq_len or give more data",
                   dataset_.name(), seq_len_ + 1, seq_len_);
  return false;
}

TokenAttributes TextRows::take(std::span<int32_t> tokens, std::span<int32_t> labels,
                               ImagePatches& /*images*/) {
  return stream_.take(tokens, labels);
}

void TextRows::skip() { stream_.skip(seq_len_ + 1); }

nlohmann::json TextRows::state() const { return stream_.state(); }

void TextRows::load_state(const nlohmann::json& state) { stream_.load_state(state); }

}  // namespace coeus
