#include "coeus/mask/sequence_layout.h"

#include <algorithm>
#include <utility>

#include "coeus/base/error.h"

namespace coeus {
namespace {

/// Leaves room for sums of places and tile sizes in an int32.
constexpr int64_t kMostTokens = int64_t{1} << 30;

}  // namespace

int32_t Token::attribute(std::string_view name) const {
  COEUS_CHECK(attributes != nullptr,
              "[Token::attribute] the token stands alone and has no attribute '{}'", name);
  const auto found = attributes->extra.find(std::string(name));
  if (found == attributes->extra.end()) {
    std::vector<std::string> known;
    for (const auto& [known_name, values] : attributes->extra) known.push_back(known_name);
    throw Error(fmt::format("[Token::attribute] no attribute '{}'; the row declares [{}]", name,
                            fmt::join(known, ", ")));
  }
  return found->second[place];
}

void TokenAttributes::check(std::string_view whose) const {
  COEUS_CHECK(size() <= kMostTokens, "[SequenceLayout] {} {} tokens in a row; at most {} fit",
              size(), whose, kMostTokens);
  COEUS_CHECK(document.size() == index.size() && offset.size() == index.size(),
              "[SequenceLayout] the {} tokens' attributes disagree in size: index {}, document {}, "
              "offset {}; give every token one of each",
              whose, index.size(), document.size(), offset.size());
  for (const auto& [name, values] : extra) {
    COEUS_CHECK(values.size() == index.size(),
                "[SequenceLayout] the {} tokens' attribute '{}' has {} entries for {} tokens",
                whose, name, values.size(), index.size());
  }
  const auto check_sign = [&](const std::vector<int32_t>& values, std::string_view name) {
    int32_t all = 0;
    for (const int32_t value : values) all |= value;
    if (all >= 0) return;
    const auto bad = std::find_if(values.begin(), values.end(), [](int32_t v) { return v < 0; });
    throw Error(fmt::format("[SequenceLayout] {} token {} has {} {}; it counts from 0", whose,
                            bad - values.begin(), name, *bad));
  };
  check_sign(index, "index");
  check_sign(offset, "offset");
}

SequenceLayout::SequenceLayout(std::shared_ptr<const TokenAttributes> query,
                               std::shared_ptr<const TokenAttributes> key)
    : query_(std::move(query)), key_(std::move(key)) {
  COEUS_CHECK(query_ != nullptr && key_ != nullptr,
              "[SequenceLayout] the attributes of the {} tokens are missing (null)",
              query_ == nullptr ? "query" : "key");
  query_->check("query");
  if (key_ != query_) key_->check("key");
}

SequenceLayout::SequenceLayout(TokenAttributes query, TokenAttributes key)
    : SequenceLayout(std::make_shared<const TokenAttributes>(std::move(query)),
                     std::make_shared<const TokenAttributes>(std::move(key))) {}

SequenceLayout SequenceLayout::self(TokenAttributes tokens) {
  const auto shared = std::make_shared<const TokenAttributes>(std::move(tokens));
  return SequenceLayout(shared, shared);
}

SequenceLayout SequenceLayout::from_document_lengths(std::span<const int64_t> lengths) {
  int64_t total = 0;
  for (const int64_t length : lengths) {
    COEUS_CHECK(length >= 0,
                "[SequenceLayout::from_document_lengths] a document cannot have {} tokens", length);
    COEUS_CHECK(length <= kMostTokens - total,
                "[SequenceLayout::from_document_lengths] the documents hold more than {} tokens",
                kMostTokens);
    total += length;
  }
  TokenAttributes tokens;
  tokens.index.resize(total);
  tokens.document.resize(total);
  tokens.offset.resize(total);
  int32_t next = 0;
  int32_t document = 0;
  for (const int64_t length : lengths) {
    for (int32_t offset = 0; offset < length; ++offset, ++next) {
      tokens.index[next] = next;
      tokens.document[next] = document;
      tokens.offset[next] = offset;
    }
    ++document;
  }
  return self(std::move(tokens));
}

}  // namespace coeus
