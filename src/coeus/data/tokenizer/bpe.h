// Byte-pair encoding of one word (Sennrich et al., 2016, https://arxiv.org/abs/1508.07909).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace coeus {

/// Hashing that lets a std::string_view look into a map of std::string.
struct StringHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
using Vocabulary = std::unordered_map<std::string, int32_t, StringHash, std::equal_to<>>;

struct BpeOptions {
  /// Words are bytes; the vocabulary (given in GPT-2's byte alphabet) is turned into bytes too.
  bool words_are_bytes = false;
  /// Characters outside the vocabulary become the tokens <0x00> … <0xFF> of their bytes.
  bool byte_fallback = false;
  /// A word that is a token as a whole is that token, whatever the merges say.
  bool ignore_merges = false;
  /// The token for characters that nothing else covers; without it they are dropped.
  std::optional<std::string> unknown_token;
  /// Neighbouring unknown characters of a word become one unknown token.
  bool fuse_unknown = false;
};

/// A merge: what is left, what is right, in the words of the vocabulary.
using Merge = std::pair<std::string, std::string>;

/// A BPE model: immutable, shared by any number of threads.
class Bpe {
 public:
  /// Merges come in the order of their rank. Throws std::invalid_argument when a merge names a
  /// token that the vocabulary lacks, or two tokens have one id.
  Bpe(const Vocabulary& vocabulary, const std::vector<Merge>& merges, const BpeOptions& options);

  /// Appends the ids of one word: of valid UTF-8, or of any bytes when words_are_bytes.
  /// Throws DataError when the unknown token is needed and not in the vocabulary.
  void encode(std::string_view word, std::vector<int32_t>& ids) const;

  /// encode() without the cache and without the short-word path: the plain statement of both.
  void encode_plainly(std::string_view word, std::vector<int32_t>& ids) const;

 private:
  // What a pair of neighbours merges to: rank above, id of the merged token below, so that the
  // least value is the merge to do next. kNoRule is greater than all.
  using Rule = uint64_t;
  static constexpr Rule kNoRule = ~Rule{0};
  static int32_t merged_of(Rule rule) { return static_cast<int32_t>(static_cast<uint32_t>(rule)); }

  // A hash table with open addressing: the lookup that encoding consists of.
  class PairTable {
   public:
    static uint64_t key(int32_t left, int32_t right) {
      return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 |
             static_cast<uint32_t>(right);
    }
    void build(const std::vector<std::pair<uint64_t, Rule>>& rules);
    Rule find(int32_t left, int32_t right) const {
      const uint64_t wanted = key(left, right);
      size_t at = hash(wanted) & mask_;
      while (slots_[at].key != wanted) {
        if (slots_[at].key == kEmpty) return kNoRule;
        at = (at + 1) & mask_;
      }
      return slots_[at].rule;
    }

   private:
    struct Slot {
      uint64_t key = kEmpty;
      Rule rule = kNoRule;
    };
    static constexpr uint64_t kEmpty = ~uint64_t{0};
    static uint64_t hash(uint64_t key) { return (key * 0x9E3779B97F4A7C15u) >> 32; }
    std::vector<Slot> slots_{1};
    uint64_t mask_ = 0;
  };

  void encode_uncached(std::string_view word, std::vector<int32_t>& ids) const;
  void append_symbols(std::string_view word, std::vector<int32_t>& symbols) const;
  int32_t character_id(std::string_view character) const;
  size_t merge_by_scanning(int32_t* symbols, size_t count) const;
  size_t merge_by_heap(int32_t* symbols, size_t count) const;

  uint32_t cache_id_;
  BpeOptions options_;
  Vocabulary vocabulary_;               // keyed by bytes when words_are_bytes
  std::vector<int32_t> character_ids_;  // of bytes, or of the characters below U+10000; -1: none
  std::vector<int32_t> byte_tokens_;    // <0x00> … <0xFF>, -1: none
  std::optional<int32_t> unknown_id_;
  PairTable pairs_;
};

}  // namespace coeus
