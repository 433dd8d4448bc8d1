#include "coeus/data/tokenizer/added_tokens.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "coeus/base/log.h"
#include "coeus/data/tokenizer/tokenizer_limits.h"
#include "coeus/data/tokenizer/unicode_sets.h"
#include "coeus/data/tokenizer/utf8.h"

namespace coeus {
namespace {

AddedToken read_added_token(const JsonNode& node) {
  node.allow_only({"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
  return {node.at("content").text(),       node.at("single_word").boolean(),
          node.at("lstrip").boolean(),     node.at("rstrip").boolean(),
          node.at("normalized").boolean(), node.at("special").boolean()};
}

bool word_before(std::string_view text, size_t position) {
  if (position == 0) return false;
  size_t at = previous_boundary(text, position);
  return is_word(next_code_point(text, at));
}

bool word_behind(std::string_view text, size_t position) {
  return position < text.size() && is_word(next_code_point(text, position));
}

size_t spaces_before(std::string_view text, size_t position, size_t limit) {
  while (position > limit) {
    const size_t start = previous_boundary(text, position);
    size_t at = start;
    if (!is_white_space(next_code_point(text, at))) break;
    position = start;
  }
  return position;
}

size_t spaces_behind(std::string_view text, size_t position) {
  for (size_t next = position; next < text.size(); position = next) {
    if (!is_white_space(next_code_point(text, next))) break;
  }
  return position;
}

}  // namespace

void AddedTokens::add_from_file(const JsonNode& list, const Base& base) {
  for (const auto& node : list.elements()) {
    const AddedToken token = read_added_token(node);
    const int64_t stated = node.at("id").integer(0, kMaximumTokenId);
    int32_t id = 0;
    try {
      id = insert(token, base);
    } catch (const std::invalid_argument& error) {
      node.fail(error.what());
    }
    if (stated != id) {
      log_warning(
          "[tokenizer] the added token '{}' is said to have id {}, but gets {}: its id in "
          "model.vocab, or the next one behind it",
          token.content, stated, id);
    }
  }
}

void AddedTokens::add_missing(const std::vector<AddedToken>& tokens, const Base& base) {
  for (const auto& token : tokens) {
    if (!ids_.contains(token.content)) insert(token, base);
  }
}

int32_t AddedTokens::insert(const AddedToken& token, const Base& base) {
  if (token.content.empty()) throw std::invalid_argument("an added token without content");
  if (ids_.contains(token.content)) {
    throw std::invalid_argument(fmt::format("'{}' is added twice", token.content));
  }
  int32_t id = 0;
  if (const auto known = base.vocabulary.find(token.content); known != base.vocabulary.end()) {
    id = known->second;
  } else {
    const auto model_size = static_cast<int32_t>(base.vocabulary.size());
    id = by_id_.empty() ? model_size : std::max(model_size, by_id_.rbegin()->first + 1);
    const auto index = static_cast<size_t>(id);
    if (index < base.tokens.size() && !base.tokens[index].empty()) {
      throw std::invalid_argument(fmt::format("'{}' gets the id {} of the model's token '{}'",
                                              token.content, id, base.tokens[index]));
    }
  }
  by_id_.emplace(id, token);
  ids_.emplace(token.content, id);
  if (token.special) specials_.insert(token.content);
  std::string text = token.content;
  if (token.normalized) {
    text = base.normalizer(token.content);
    if (text != token.content) normalized_texts_.emplace(id, text);
  }
  if (!(token.normalized ? normalized_ : raw_).add(text, id)) {
    throw std::invalid_argument(fmt::format(
        "'{}' is empty once normalized, or the same as another added token", token.content));
  }
  return id;
}

std::optional<std::string_view> AddedTokens::text_of(int32_t id) const {
  if (const auto it = normalized_texts_.find(id); it != normalized_texts_.end()) return it->second;
  if (const auto it = by_id_.find(id); it != by_id_.end()) return it->second.content;
  return std::nullopt;
}

std::optional<int32_t> AddedTokens::id_of(std::string_view token) const {
  const auto it = ids_.find(token);
  return it == ids_.end() ? std::nullopt : std::optional(it->second);
}

std::vector<AddedTokens::Section> AddedTokens::cut(std::string_view text,
                                                   const TokenMatcher& matcher) const {
  std::vector<Section> sections;
  size_t covered = 0;
  size_t from = 0;
  while (const auto match = matcher.find(text, from)) {
    from = match->end;
    const AddedToken& token = by_id_.at(match->id);
    if (token.single_word && (word_before(text, match->begin) || word_behind(text, match->end))) {
      continue;
    }
    size_t begin = match->begin;
    size_t end = match->end;
    // The match before may have taken the spaces between the two.
    if (token.lstrip) begin = std::max(spaces_before(text, begin, covered), covered);
    // Within spaces that were taken, the run is known to end at `covered`: no second look at it.
    if (token.rstrip) end = end < covered ? covered : spaces_behind(text, end);
    // A token of spaces that a neighbour took whole is gone; so it is in the library.
    if (begin >= end) continue;
    if (covered < begin) sections.push_back({covered, begin, std::nullopt});
    sections.push_back({begin, end, match->id});
    covered = end;
  }
  if (covered < text.size()) sections.push_back({covered, text.size(), std::nullopt});
  return sections;
}

}  // namespace coeus
