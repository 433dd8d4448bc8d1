// The ids of the words seen last: most words of a text are few.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>

namespace coeus {

/// A table of fixed size (2 MiB a thread), shared by all tokenizers: an entry belongs to the model
/// whose number it bears, and gives way to the next word that falls on it.
class WordCache {
 public:
  static constexpr size_t kLongestWord = 23;
  static constexpr size_t kMostIds = 8;

  struct Entry {
    uint32_t model = 0;  // 0: free
    uint8_t word_size = 0;
    uint8_t id_count = 0;
    char word[kLongestWord + 3] = {};
    int32_t ids[kMostIds] = {};

    bool holds(uint32_t of_model, std::string_view text) const {
      return model == of_model && word_size == text.size() &&
             std::memcmp(word, text.data(), text.size()) == 0;
    }
    void set(uint32_t of_model, std::string_view text, std::span<const int32_t> new_ids) {
      model = of_model;
      word_size = static_cast<uint8_t>(text.size());
      id_count = static_cast<uint8_t>(new_ids.size());
      std::memcpy(word, text.data(), text.size());
      std::copy(new_ids.begin(), new_ids.end(), ids);
    }
  };
  static_assert(sizeof(Entry) == 64, "an entry is one cache line");

  static WordCache& of_this_thread() {
    thread_local WordCache cache;
    return cache;
  }

  /// The one place where the word may stand. `word` has at most kLongestWord bytes.
  Entry& place(std::string_view word) { return entries_[hash(word) & (kEntries - 1)]; }

 private:
  static constexpr size_t kEntries = 1u << 15;

  static uint64_t hash(std::string_view word) {
    uint64_t parts[3] = {word.size(), 0, 0};
    char* const bytes = reinterpret_cast<char*>(parts);
    std::memcpy(bytes + 1, word.data(), word.size());
    const __uint128_t a =
        static_cast<__uint128_t>(parts[0] ^ 0x9E3779B97F4A7C15u) * (parts[1] ^ 0xBF58476D1CE4E5B9u);
    const auto folded = static_cast<uint64_t>(a) ^ static_cast<uint64_t>(a >> 64);
    const __uint128_t b =
        static_cast<__uint128_t>(folded ^ 0x94D049BB133111EBu) * (parts[2] ^ 0xD6E8FEB86659FD93u);
    return static_cast<uint64_t>(b) ^ static_cast<uint64_t>(b >> 64);
  }

  std::unique_ptr<Entry[]> entries_ = std::make_unique<Entry[]>(kEntries);
};

}  // namespace coeus
