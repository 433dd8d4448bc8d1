#include "coeus/data/tokenizer/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <algorithm>
#include <new>
#include <stdexcept>

#include "coeus/base/error.h"

namespace coeus {
namespace {

std::string pcre2_message(int code) {
  PCRE2_UCHAR buffer[256];
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

// What a search writes to, one of each per thread: patterns are shared, this is not.
struct SearchState {
  pcre2_match_data* match = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(size_t{32} << 10, size_t{64} << 20, nullptr);
  uint32_t limit = 0;

  SearchState() {
    if (match == nullptr || context == nullptr || stack == nullptr) throw std::bad_alloc();
    pcre2_jit_stack_assign(context, nullptr, stack);
  }
  SearchState(const SearchState&) = delete;
  SearchState& operator=(const SearchState&) = delete;
  ~SearchState() {
    pcre2_match_data_free(match);
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(stack);
  }
};

// Room for backtracking in proportion to the text; a pattern that wants more is quadratic or worse.
uint32_t match_limit(size_t text_size) {
  return static_cast<uint32_t>(std::min<size_t>(10'000'000 + 100 * text_size, UINT32_MAX));
}

}  // namespace

Regex::Regex(std::string_view pattern) : pattern_(pattern) {
  const std::string translated = translate_regex(pattern);
  using CompileContext = std::unique_ptr<pcre2_compile_context, void (*)(pcre2_compile_context*)>;
  const CompileContext context(pcre2_compile_context_create(nullptr), pcre2_compile_context_free);
  if (context == nullptr) throw std::bad_alloc();
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = pcre2_compile(
      reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NO_UTF_CHECK, &error, &offset, context.get());
  if (code == nullptr) {
    throw std::invalid_argument(fmt::format("the regular expression '{}' does not compile: {}",
                                            pattern_, pcre2_message(error)));
  }
  code_ = std::shared_ptr<const void>(
      code, [](const void* p) { pcre2_code_free(static_cast<pcre2_code*>(const_cast<void*>(p))); });
  jit_ = pcre2_jit_compile(code, PCRE2_JIT_COMPLETE) == 0;
}

bool Regex::search(std::string_view text, size_t from, size_t& begin, size_t& end) const {
  thread_local SearchState state;
  const uint32_t limit = match_limit(text.size());
  if (limit != state.limit) {
    pcre2_set_match_limit(state.context, limit);
    state.limit = limit;
  }
  const auto* code = static_cast<const pcre2_code*>(code_.get());
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const int result =
      jit_ ? pcre2_jit_match(code, subject, text.size(), from, 0, state.match, state.context)
           : pcre2_match(code, subject, text.size(), from, PCRE2_NO_UTF_CHECK, state.match,
                         state.context);
  if (result == PCRE2_ERROR_NOMATCH) return false;
  COEUS_CHECK_DATA(result >= 0,
                   "[tokenizer] the regular expression {} failed {} bytes into a text of {} bytes: "
                   "{}; split the text or change the pattern in tokenizer.json",
                   pattern_, from, text.size(), pcre2_message(result));
  const PCRE2_SIZE* offsets = pcre2_get_ovector_pointer(state.match);
  begin = offsets[0];
  end = offsets[1];
  return true;
}

size_t Regex::after_character(std::string_view text, size_t position) {
  do {
    ++position;
  } while (position < text.size() && (static_cast<unsigned char>(text[position]) & 0xC0u) == 0x80u);
  return position;
}

}  // namespace coeus
