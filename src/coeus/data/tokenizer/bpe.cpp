#include "coeus/data/tokenizer/bpe.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <span>
#include <stdexcept>

#include "coeus/base/error.h"
#include "coeus/data/tokenizer/byte_alphabet.h"
#include "coeus/data/tokenizer/utf8.h"
#include "coeus/data/tokenizer/word_cache.h"

namespace coeus {
namespace {

// Up to this many symbols a scan for the best pair is faster than a heap.
constexpr size_t kScanLimit = 64;

uint32_t next_cache_id() {
  static std::atomic<uint32_t> next{1};
  return next++;
}

}  // namespace

void Bpe::PairTable::build(const std::vector<std::pair<uint64_t, Rule>>& rules) {
  size_t size = 16;
  while (size < rules.size() * 2) size *= 2;
  slots_.assign(size, Slot{});
  mask_ = size - 1;
  for (const auto& [key, rule] : rules) {
    size_t at = hash(key) & mask_;
    while (slots_[at].key != kEmpty && slots_[at].key != key) at = (at + 1) & mask_;
    // Of two equal merges the later counts.
    slots_[at] = {key, rule};
  }
}

Bpe::Bpe(const Vocabulary& vocabulary, const std::vector<Merge>& merges, const BpeOptions& options)
    : cache_id_(next_cache_id()), options_(options) {
  std::unordered_map<int32_t, std::string_view> seen;
  for (const auto& [token, id] : vocabulary) {
    const auto [other, added] = seen.emplace(id, token);
    if (!added) {
      throw std::invalid_argument(
          fmt::format("the tokens '{}' and '{}' have the same id {}", other->second, token, id));
    }
  }

  const auto id_of = [&](const std::string& token, size_t rank) {
    const auto it = vocabulary.find(token);
    if (it == vocabulary.end()) {
      throw std::invalid_argument(
          fmt::format("merge {} needs the token '{}', which the vocabulary lacks", rank, token));
    }
    return it->second;
  };
  std::vector<std::pair<uint64_t, Rule>> rules;
  rules.reserve(merges.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    const int32_t left_id = id_of(left, rank);
    const int32_t right_id = id_of(right, rank);
    const auto merged_id = static_cast<uint32_t>(id_of(left + right, rank));
    rules.emplace_back(PairTable::key(left_id, right_id),
                       static_cast<Rule>(rank) << 32 | merged_id);
  }
  pairs_.build(rules);

  character_ids_.assign(options_.words_are_bytes ? 256 : 0x10000, -1);
  vocabulary_.reserve(vocabulary.size());
  for (const auto& [token, id] : vocabulary) {
    std::string key = token;
    if (options_.words_are_bytes) {
      auto bytes = alphabet_to_bytes(token);
      if (!bytes) continue;  // no word can be this token
      key = std::move(*bytes);
      if (key.size() == 1) character_ids_[static_cast<unsigned char>(key[0])] = id;
    } else if (!key.empty()) {
      size_t end = 0;
      const char32_t c = next_code_point(key, end);
      if (end == key.size() && c < character_ids_.size()) character_ids_[c] = id;
    }
    vocabulary_.emplace(std::move(key), id);
  }
  if (options_.byte_fallback) {
    byte_tokens_.assign(256, -1);
    for (unsigned byte = 0; byte < 256; ++byte) {
      const auto it = vocabulary.find(fmt::format("<0x{:02X}>", byte));
      if (it != vocabulary.end()) byte_tokens_[byte] = it->second;
    }
  }
  if (options_.unknown_token) {
    const auto it = vocabulary.find(*options_.unknown_token);
    if (it != vocabulary.end()) unknown_id_ = it->second;
  }
}

void Bpe::encode(std::string_view word, std::vector<int32_t>& ids) const {
  if (word.size() > WordCache::kLongestWord) return encode_uncached(word, ids);
  auto& entry = WordCache::of_this_thread().place(word);
  if (entry.holds(cache_id_, word)) {
    ids.insert(ids.end(), entry.ids, entry.ids + entry.id_count);
    return;
  }
  const size_t before = ids.size();
  encode_uncached(word, ids);
  const std::span<const int32_t> found{ids.data() + before, ids.size() - before};
  if (found.size() <= WordCache::kMostIds) entry.set(cache_id_, word, found);
}

void Bpe::encode_uncached(std::string_view word, std::vector<int32_t>& ids) const {
  if (options_.ignore_merges) {
    const auto it = vocabulary_.find(word);
    if (it != vocabulary_.end()) {
      ids.push_back(it->second);
      return;
    }
  }
  const size_t before = ids.size();
  append_symbols(word, ids);
  const size_t count = ids.size() - before;
  int32_t* const symbols = ids.data() + before;
  ids.resize(before + (count <= kScanLimit ? merge_by_scanning(symbols, count)
                                           : merge_by_heap(symbols, count)));
}

void Bpe::encode_plainly(std::string_view word, std::vector<int32_t>& ids) const {
  if (options_.ignore_merges && vocabulary_.contains(std::string(word))) {
    ids.push_back(vocabulary_.find(word)->second);
    return;
  }
  std::vector<int32_t> symbols;
  append_symbols(word, symbols);
  while (true) {
    Rule best = kNoRule;
    size_t best_at = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const Rule rule = pairs_.find(symbols[i], symbols[i + 1]);
      if (rule < best) {
        best = rule;
        best_at = i;
      }
    }
    if (best == kNoRule) break;
    symbols[best_at] = merged_of(best);
    symbols.erase(symbols.begin() + static_cast<ptrdiff_t>(best_at) + 1);
  }
  ids.insert(ids.end(), symbols.begin(), symbols.end());
}

int32_t Bpe::character_id(std::string_view character) const {
  size_t end = 0;
  const char32_t c = options_.words_are_bytes ? static_cast<unsigned char>(character[0])
                                              : next_code_point(character, end);
  if (c < character_ids_.size()) return character_ids_[c];
  const auto it = vocabulary_.find(character);
  return it == vocabulary_.end() ? -1 : it->second;
}

void Bpe::append_symbols(std::string_view word, std::vector<int32_t>& symbols) const {
  // An unknown token waits until the next known character, and stays behind bytes that fall back
  // meanwhile: the order that the Hugging Face library gives.
  bool unknown_waits = false;
  const auto flush = [&] {
    if (unknown_waits) symbols.push_back(*unknown_id_);
    unknown_waits = false;
  };
  for (size_t i = 0; i < word.size();) {
    const size_t begin = i;
    if (options_.words_are_bytes) {
      ++i;
    } else {
      next_code_point(word, i);
    }
    const std::string_view character = word.substr(begin, i - begin);
    const int32_t id = character_id(character);
    if (id >= 0) {
      flush();
      symbols.push_back(id);
      continue;
    }
    if (options_.byte_fallback) {
      const std::string spelled =
          options_.words_are_bytes ? bytes_to_alphabet(character) : std::string(character);
      const bool all = std::all_of(spelled.begin(), spelled.end(), [&](char byte) {
        return byte_tokens_[static_cast<unsigned char>(byte)] >= 0;
      });
      if (all) {
        for (const char byte : spelled) {
          symbols.push_back(byte_tokens_[static_cast<unsigned char>(byte)]);
        }
        continue;
      }
    }
    if (!options_.unknown_token) continue;
    COEUS_CHECK_DATA(unknown_id_.has_value(),
                     "[tokenizer] the character '{}' is not in the vocabulary, and neither is the "
                     "unknown token '{}' that would stand for it",
                     options_.words_are_bytes ? bytes_to_alphabet(character) : character,
                     *options_.unknown_token);
    if (!options_.fuse_unknown) flush();
    unknown_waits = true;
  }
  flush();
}

size_t Bpe::merge_by_scanning(int32_t* symbols, size_t count) const {
  // rules[i] joins symbols i and i + 1.
  Rule rules[kScanLimit];
  for (size_t i = 0; i + 1 < count; ++i) rules[i] = pairs_.find(symbols[i], symbols[i + 1]);
  while (count > 1) {
    Rule best = kNoRule;
    size_t at = 0;
    for (size_t i = 0; i + 1 < count; ++i) {
      if (rules[i] < best) {
        best = rules[i];
        at = i;
      }
    }
    if (best == kNoRule) break;
    symbols[at] = merged_of(best);
    --count;
    for (size_t i = at + 1; i < count; ++i) {
      symbols[i] = symbols[i + 1];
      rules[i - 1] = rules[i];
    }
    if (at > 0) rules[at - 1] = pairs_.find(symbols[at - 1], symbols[at]);
    if (at + 1 < count) rules[at] = pairs_.find(symbols[at], symbols[at + 1]);
  }
  return count;
}

size_t Bpe::merge_by_heap(int32_t* symbols, size_t count) const {
  struct Candidate {
    Rule rule;
    uint32_t at;
    int32_t left, right;                            // as they were; stale once either has merged
    bool operator<(const Candidate& other) const {  // the heap's top is the lowest rank, leftmost
      return rule != other.rule ? rule > other.rule : at > other.at;
    }
  };
  constexpr uint32_t kNone = UINT32_MAX;
  constexpr int32_t kGone = -1;
  std::vector<uint32_t> next(count);
  std::vector<uint32_t> previous(count);
  std::vector<Candidate> heap;
  const auto candidate = [&](uint32_t left, uint32_t right) {
    const Rule rule = pairs_.find(symbols[left], symbols[right]);
    if (rule == kNoRule) return false;
    heap.push_back({rule, left, symbols[left], symbols[right]});
    return true;
  };
  for (uint32_t i = 0; i < count; ++i) {
    previous[i] = i == 0 ? kNone : i - 1;
    next[i] = i + 1 < count ? i + 1 : kNone;
    if (i + 1 < count) candidate(i, i + 1);
  }
  std::make_heap(heap.begin(), heap.end());
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const Candidate top = heap.back();
    heap.pop_back();
    const uint32_t right = symbols[top.at] == top.left ? next[top.at] : kNone;
    if (right == kNone || symbols[right] != top.right) continue;
    symbols[top.at] = merged_of(top.rule);
    symbols[right] = kGone;
    next[top.at] = next[right];
    if (next[right] != kNone) previous[next[right]] = top.at;
    if (previous[top.at] != kNone && candidate(previous[top.at], top.at)) {
      std::push_heap(heap.begin(), heap.end());
    }
    if (next[top.at] != kNone && candidate(top.at, next[top.at])) {
      std::push_heap(heap.begin(), heap.end());
    }
  }
  return static_cast<size_t>(std::remove(symbols, symbols + count, kGone) - symbols);
}

}  // namespace coeus
