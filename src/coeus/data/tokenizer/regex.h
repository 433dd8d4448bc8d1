// The regular expressions of tokenizer.json files: written for Oniguruma, run by PCRE2.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace coeus {

/// Rewrites a pattern in Oniguruma's syntax (its Ruby flavour, UTF-8, Unicode 16) for PCRE2 with
/// UTF, UCP and MULTILINE, so that both match the same text. Where the two engines part, the
/// pattern is spelt out (`\s` of PCRE2 10.42 has U+180E, `\h` is a hexadecimal digit, `\p{L}` lacks
/// the letters since Unicode 15, …); what cannot be said is an error. Throws std::invalid_argument
/// with the reason and the place in the pattern.
std::string translate_regex(std::string_view pattern);

/// A compiled pattern: immutable, shared by any number of threads.
class Regex {
 public:
  /// Throws std::invalid_argument when the pattern is malformed or not supported.
  explicit Regex(std::string_view pattern);

  /// Calls `on_match(begin, end)` for each match from left to right in `text` (valid UTF-8), as
  /// Oniguruma's find_iter: an empty match right behind the last match is passed over.
  /// Throws DataError when the pattern needs more memory or backtracking than it may use.
  template <class OnMatch>
  void for_each_match(std::string_view text, OnMatch&& on_match) const {
    size_t from = 0;
    size_t begin = 0;
    size_t end = 0;
    size_t last_end = std::string_view::npos;
    while (from <= text.size() && search(text, from, begin, end)) {
      if (begin == end && end == last_end) {
        from = after_character(text, from);
        continue;
      }
      from = last_end = end;
      on_match(begin, end);
    }
  }

 private:
  bool search(std::string_view text, size_t from, size_t& begin, size_t& end) const;
  static size_t after_character(std::string_view text, size_t position);

  std::shared_ptr<const void> code_;
  bool jit_ = false;
  std::string pattern_;
};

}  // namespace coeus
