// The sets of characters that tokenizer.json files speak of, as the engines behind the Hugging Face
// library know them. The libraries of a Linux distribution lag behind Unicode, and the parts of
// that library follow different versions of it; each set here says which one is meant.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace coeus {

/// A run of characters that Unicode 15, 15.1 or 16 assigned, with their general category: what
/// PCRE2 10.42 (Unicode 14) takes for unassigned. Sorted by code point.
struct AddedCharacters {
  char32_t first;
  char32_t last;
  char category[3];
};
std::span<const AddedCharacters> characters_since_unicode_15();

/// The property White_Space (what Rust's `char::is_whitespace` and both regex engines call `\s`).
bool is_white_space(char32_t c);

/// General category N, Unicode 17: Rust's `char::is_numeric`, used by the Digits pre-tokenizer.
bool is_numeric(char32_t c);

/// ASCII punctuation, or general category P of Unicode 8: used by the Punctuation pre-tokenizer.
bool is_punctuation(char32_t c);

/// `\w` of Rust's regex crate (Alphabetic, M, Nd, Pc, Join_Control; Unicode 16): used by the
/// Whitespace pre-tokenizer and by the `single_word` flag of added tokens.
bool is_word(char32_t c);

/// Appends what `c` lowercases to by itself, without regard to its neighbours (Unicode 17).
void append_lowercase(std::string& out, char32_t c);

}  // namespace coeus
