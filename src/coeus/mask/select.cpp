#include "coeus/mask/select.h"

#include <memory>
#include <utility>
#include <vector>

#include "coeus/base/error.h"

namespace coeus {
namespace {

/// `tokens` with every attribute's list put through `choose`.
template <typename Choose>
TokenAttributes map_attributes(const TokenAttributes& tokens, Choose choose) {
  TokenAttributes chosen{choose(tokens.index), choose(tokens.document), choose(tokens.offset)};
  for (const auto& [name, values] : tokens.extra) chosen.extra.emplace(name, choose(values));
  return chosen;
}

std::shared_ptr<const TokenAttributes> share(TokenAttributes tokens) {
  return std::make_shared<const TokenAttributes>(std::move(tokens));
}

}  // namespace

TokenAttributes select(const TokenAttributes& tokens, std::span<const int64_t> places) {
  for (const int64_t place : places) {
    COEUS_CHECK(place >= 0 && place < tokens.size(), "[select] place {} is not one of {} tokens",
                place, tokens.size());
  }
  return map_attributes(tokens, [&](const std::vector<int32_t>& values) {
    std::vector<int32_t> chosen(places.size());
    for (size_t i = 0; i < places.size(); ++i) chosen[i] = values[places[i]];
    return chosen;
  });
}

TokenAttributes select(const TokenAttributes& tokens, int64_t begin, int64_t end) {
  COEUS_CHECK(0 <= begin && begin <= end && end <= tokens.size(),
              "[select] [{}, {}) is not a range of {} tokens", begin, end, tokens.size());
  return map_attributes(tokens, [&](const std::vector<int32_t>& values) {
    return std::vector<int32_t>(values.begin() + begin, values.begin() + end);
  });
}

SequenceLayout select_queries(const SequenceLayout& layout, std::span<const int64_t> places) {
  return SequenceLayout(share(select(*layout.query(), places)), layout.key());
}

SequenceLayout select_queries(const SequenceLayout& layout, int64_t begin, int64_t end) {
  return SequenceLayout(share(select(*layout.query(), begin, end)), layout.key());
}

SequenceLayout select_keys(const SequenceLayout& layout, std::span<const int64_t> places) {
  return SequenceLayout(layout.query(), share(select(*layout.key(), places)));
}

SequenceLayout select_keys(const SequenceLayout& layout, int64_t begin, int64_t end) {
  return SequenceLayout(layout.query(), share(select(*layout.key(), begin, end)));
}

}  // namespace coeus
