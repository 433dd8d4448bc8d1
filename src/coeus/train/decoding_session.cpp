#include "coeus/train/decoding_session.h"

#include <torch/types.h>

#include <memory>
#include <numeric>

#include "coeus/base/error.h"

namespace coeus {

namespace {

at::Tensor as_row(std::span<const int32_t> values) {
  return at::tensor(at::ArrayRef<int32_t>(values.data(), values.size()), at::kInt).unsqueeze(0);
}

void append_to(std::vector<int32_t>& list, const std::vector<int32_t>& more) {
  list.insert(list.end(), more.begin(), more.end());
}

/// Throws Error unless both name the same attributes.
void append_to(TokenAttributes& seen, const TokenAttributes& more) {
  if (seen.size() == 0)
    for (const auto& [name, values] : more.extra) seen.extra[name];
  COEUS_CHECK(seen.extra.size() == more.extra.size(),
              "[DecodingSession] tokens with {} attributes of their own follow tokens with {}",
              more.extra.size(), seen.extra.size());
  append_to(seen.index, more.index);
  append_to(seen.document, more.document);
  append_to(seen.offset, more.offset);
  for (const auto& [name, values] : more.extra) {
    const auto known = seen.extra.find(name);
    COEUS_CHECK(known != seen.extra.end(),
                "[DecodingSession] the attribute '{}' is new; tokens before it lack it", name);
    append_to(known->second, values);
  }
}

}  // namespace

at::Tensor DecodingSession::append(std::span<const int32_t> tokens,
                                   const TokenAttributes& attributes,
                                   std::span<const int32_t> positions) {
  COEUS_CHECK(!tokens.empty() && tokens.size() == positions.size() &&
                  static_cast<int64_t>(tokens.size()) == attributes.size(),
              "[DecodingSession] {} tokens with {} attributes and {} positions; give one or more "
              "tokens and one of each to every token",
              tokens.size(), attributes.size(), positions.size());
  COEUS_CHECK(
      !failed_,
      "[DecodingSession] an earlier append failed within the model, which may have kept keys "
      "of its tokens; start a new session");
  const at::NoGradGuard no_grad;
  TokenAttributes all = seen_;
  append_to(all, attributes);
  const std::vector<SequenceLayout> rows = {SequenceLayout(attributes, all)};
  const AttentionMasks masks = model_.get_attention_masks(rows);
  failed_ = true;
  const at::Tensor logits = model_.forward_cached(as_row(tokens).to(device_, at::kLong),
                                                  as_row(positions).to(device_), masks, cache_);
  failed_ = false;
  seen_ = std::move(all);
  return logits[0];
}

at::Tensor DecodingSession::append(std::span<const int32_t> tokens) {
  std::vector<int32_t> index(tokens.size());
  std::iota(index.begin(), index.end(), static_cast<int32_t>(length()));
  const std::vector<int32_t> document(tokens.size(), 0);
  return append(tokens, {.index = index, .document = document, .offset = index}, index);
}

}  // namespace coeus
