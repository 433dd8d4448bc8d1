// Oniguruma's syntax, said in PCRE2's.
#include <fmt/format.h>
#include <unicode/uchar.h>
#include <unicode/uscript.h>

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <vector>

#include "coeus/data/tokenizer/regex.h"
#include "coeus/data/tokenizer/unicode_sets.h"
#include "coeus/data/tokenizer/utf8.h"

namespace coeus {
namespace {

constexpr std::string_view kSpaces =
    R"(\t-\r \x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
// Oniguruma's \w, and what it has besides, outside of sets only: six raised digits and fractions,
// inherited from ISO 8859-1.
constexpr std::string_view kWords = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})";
constexpr std::string_view kLatin1Words = R"(\x{b2}\x{b3}\x{b9}\x{bc}-\x{be})";

constexpr std::string_view kCategories[] = {"L",  "Lu", "Ll", "Lt", "Lm", "Lo", "N",  "Nd", "Nl",
                                            "No", "M",  "Mn", "Mc", "Me", "P",  "Pc", "Pd", "Ps",
                                            "Pe", "Pi", "Pf", "Po", "S",  "Sm", "Sc", "Sk", "So",
                                            "Z",  "Zs", "Zl", "Zp", "C",  "Cc", "Cf", "Co"};

// The characters of a category that PCRE2 10.42 does not know yet, as the inside of a class.
std::string additions(std::string_view category) {
  std::string out;
  const auto all = characters_since_unicode_15();
  for (size_t i = 0; i < all.size();) {
    if (!std::string_view(all[i].category).starts_with(category)) {
      ++i;
      continue;
    }
    const char32_t first = all[i].first;
    char32_t last = all[i].last;
    for (++i; i < all.size() && all[i].first == last + 1 &&
              std::string_view(all[i].category).starts_with(category);
         ++i) {
      last = all[i].last;
    }
    out += fmt::format("\\x{{{:x}}}-\\x{{{:x}}}", static_cast<uint32_t>(first),
                       static_cast<uint32_t>(last));
  }
  return out;
}

class Translator {
 public:
  explicit Translator(std::string_view pattern) : in_(pattern) {}

  std::string run() {
    while (at_ < in_.size()) step();
    if (!open_.empty()) fail("a group is not closed");
    return std::move(out_);
  }

 private:
  struct Group {
    size_t start;  // in out_
    bool caseless_outside;
  };

  [[noreturn]] void fail(std::string_view reason) const {
    throw std::invalid_argument(fmt::format(
        "the regular expression '{}' is not supported: {} (at byte {})", in_, reason, at_));
  }
  bool has(std::string_view next) const { return in_.substr(at_).starts_with(next); }
  char peek(size_t ahead = 0) const { return at_ + ahead < in_.size() ? in_[at_ + ahead] : '\0'; }

  // Starts what a quantifier behind it would repeat.
  void begin_atom() {
    atom_ = out_.size();
    last_literal_ = 0;
  }
  void atom(std::string_view text) {
    begin_atom();
    out_ += text;
  }

  void step() {
    const char c = in_[at_];
    switch (c) {
      case '(':
        open_group();
        return;
      case ')':
        close_group();
        return;
      case '[':
        character_class();
        return;
      case '\\':
        escape();
        return;
      case '|':
        out_ += '|';
        ++at_;
        atom_.reset();
        last_literal_ = 0;
        return;
      case '*':
      case '+':
      case '?':
        quantifier(std::string(1, c), 1);
        return;
      case '{':
        if (interval()) return;
        literal();
        return;
      case '^':
      case '$':
      case '.':
        atom(std::string_view(&c, 1));
        ++at_;
        return;
      default:
        literal();
        return;
    }
  }

  void literal() {
    size_t next = at_;
    const char32_t c = next_code_point(in_, next);
    emit_literal(c);
    at_ = next;
  }

  void emit_literal(char32_t c) {
    const char32_t before = last_literal_;
    begin_atom();
    if (caseless_) {
      // Oniguruma folds 'ss' to U+00DF and 'fi' to U+FB01 when case does not matter; PCRE2 does
      // not.
      if (c >= 0x80) fail("letters beyond ASCII where case does not matter");
      const char32_t lower = c >= 'A' && c <= 'Z' ? c + 32 : c;
      const bool folds = (before == 's' && (lower == 's' || lower == 't')) ||
                         (before == 'f' && (lower == 'f' || lower == 'i' || lower == 'l'));
      if (folds) fail("'ss', 'st', 'ff', 'fi' and 'fl' where case does not matter");
      last_literal_ = lower;
    }
    append_literal(c);
  }

  void append_literal(char32_t c) {
    if (c < 0x80 && std::isalnum(static_cast<int>(c)) == 0) {
      out_ += fmt::format("\\x{{{:x}}}", static_cast<uint32_t>(c));
    } else {
      append_utf8(out_, c);
    }
  }

  void open_group() {
    const size_t start = out_.size();
    const bool outside = caseless_;
    if (peek(1) != '?') {
      out_ += '(';
      ++at_;
    } else if (has("(?:") || has("(?=") || has("(?!") || has("(?>")) {
      out_ += in_.substr(at_, 3);
      at_ += 3;
    } else if (has("(?<=") || has("(?<!")) {
      out_ += in_.substr(at_, 4);
      at_ += 4;
    } else if (has("(?i:") || has("(?-i:")) {
      caseless_ = has("(?i:");
      out_ += caseless_ ? "(?i:" : "(?-i:";
      at_ += caseless_ ? 4 : 5;
    } else if (has("(?i)") && at_ == 0) {
      // Elsewhere the engines differ on whether it reaches past the next '|'.
      caseless_ = true;
      out_ += "(?i)";
      at_ += 4;
      return;
    } else {
      fail(fmt::format("the group '{}'", in_.substr(at_, 4)));
    }
    open_.push_back({start, outside});
    atom_.reset();
    last_literal_ = 0;
  }

  void close_group() {
    if (open_.empty()) fail("a ')' without its '('");
    out_ += ')';
    ++at_;
    atom_ = open_.back().start;
    caseless_ = open_.back().caseless_outside;
    open_.pop_back();
    last_literal_ = 0;
  }

  void quantifier(const std::string& text, size_t length) {
    if (!atom_) fail("a quantifier with nothing to repeat");
    at_ += length;
    out_ += text;
    // `+` and `?` behind *, + and ? mean the same in both: possessive and lazy.
    if (peek() == '+' || peek() == '?') out_ += in_[at_++];
    end_quantifier();
  }

  // {n}, {n,}, {n,m} and {,m}; anything else is a literal brace.
  bool interval() {
    const size_t close = in_.find('}', at_);
    if (close == std::string_view::npos) return false;
    const std::string_view inside = in_.substr(at_ + 1, close - at_ - 1);
    const size_t comma = inside.find(',');
    const std::string_view low = inside.substr(0, comma);
    const std::string_view high =
        comma == std::string_view::npos ? std::string_view{} : inside.substr(comma + 1);
    const auto digits = [](std::string_view s) {
      return std::all_of(s.begin(), s.end(), [](unsigned char c) { return std::isdigit(c); });
    };
    if (!digits(low) || !digits(high) || (low.empty() && high.empty())) return false;
    if (low.size() > 5 || high.size() > 5) fail("a repetition above 65535");
    if (!atom_) fail("a quantifier with nothing to repeat");
    const bool fixed = comma == std::string_view::npos;
    out_ += fixed ? fmt::format("{{{}}}", low)
                  : fmt::format("{{{},{}}}", low.empty() ? "0" : low, high);
    at_ = close + 1;
    // Ruby: {n,m}? is lazy, but {n}? is an optional {n}, and {n,m}+ repeats {n,m}.
    if (!fixed && peek() == '?') {
      out_ += '?';
      ++at_;
    }
    end_quantifier();
    return true;
  }

  // A further quantifier repeats the whole to Oniguruma, and would bind otherwise in PCRE2.
  void end_quantifier() {
    last_literal_ = 0;
    if (std::string_view("*+?{").find(peek()) == std::string_view::npos || at_ >= in_.size())
      return;
    out_.insert(*atom_, "(?:");
    out_ += ')';
  }

  void escape() {
    const char c = peek(1);
    switch (c) {
      case 'p':
      case 'P': {
        begin_atom();
        const auto property = read_property();
        out_ += property.negated ? "[^" : "[";
        out_ += property.inside + ']';
        return;
      }
      case 's':
        atom(fmt::format("[{}]", kSpaces));
        break;
      case 'S':
        atom(fmt::format("[^{}]", kSpaces));
        break;
      case 'd':
        atom(fmt::format("[\\p{{Nd}}{}]", additions("Nd")));
        break;
      case 'D':
        atom(fmt::format("[^\\p{{Nd}}{}]", additions("Nd")));
        break;
      case 'w':
        atom(fmt::format("[{}{}]", words(), kLatin1Words));
        break;
      case 'W':
        atom(fmt::format("[^{}{}]", words(), kLatin1Words));
        break;
      case 'h':
        atom("[0-9a-fA-F]");
        break;
      case 'H':
        atom("[^0-9a-fA-F]");
        break;
      case 'A':
      case 'z':
      case 'Z':
        atom(in_.substr(at_, 2));
        break;
      case 'b':
      case 'B': {
        const std::string w = words() + std::string(kLatin1Words);
        atom(c == 'b' ? fmt::format("(?:(?<=[{0}])(?![{0}])|(?<![{0}])(?=[{0}]))", w)
                      : fmt::format("(?:(?<=[{0}])(?=[{0}])|(?<![{0}])(?![{0}]))", w));
        break;
      }
      default:
        emit_literal(read_escaped_literal());
        return;
    }
    at_ += 2;
  }

  std::string words() const {
    return std::string(kWords) + additions("L") + additions("M") + additions("Nd");
  }

  // \n, \t, \xHH, \x{H…}, \uHHHH and escaped punctuation: one character.
  char32_t read_escaped_literal() {
    const char c = peek(1);
    const auto single = [&](char32_t value) {
      at_ += 2;
      return value;
    };
    switch (c) {
      case 'n':
        return single('\n');
      case 't':
        return single('\t');
      case 'r':
        return single('\r');
      case 'f':
        return single('\f');
      case 'v':
        return single('\v');
      case 'a':
        return single('\a');
      case 'e':
        return single(0x1B);
      case 'x':
        if (peek(2) == '{') {
          const size_t close = in_.find('}', at_);
          if (close == std::string_view::npos) fail("\\x{ without }");
          return hexadecimal(at_ + 3, close - at_ - 3, 1, 8, close + 1);
        }
        return hexadecimal(at_ + 2, std::isxdigit(static_cast<unsigned char>(peek(3))) ? 2 : 1, 1,
                           2, std::string_view::npos);
      case 'u':
        return hexadecimal(at_ + 2, 4, 4, 4, std::string_view::npos);
      case '\0':
        fail("a backslash at the end");
      default:
        break;
    }
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80 && std::isalnum(byte)) fail(fmt::format("the escape '\\{}'", c));
    ++at_;
    size_t next = at_;
    const char32_t value = next_code_point(in_, next);
    at_ = next;
    return value;
  }

  char32_t hexadecimal(size_t begin, size_t length, size_t shortest, size_t longest, size_t after) {
    const std::string_view digits = in_.substr(std::min(begin, in_.size()), length);
    char32_t value = 0;
    for (const char d : digits) {
      if (!std::isxdigit(static_cast<unsigned char>(d))) fail("a malformed hexadecimal escape");
      value = value * 16 + static_cast<char32_t>(d <= '9' ? d - '0' : (d | 0x20) - 'a' + 10);
      if (value > 0x10FFFF) fail("a character beyond U+10FFFF");
    }
    if (digits.size() < shortest || digits.size() > longest) fail("a malformed hexadecimal escape");
    if (value >= 0xD800 && value <= 0xDFFF) fail("a surrogate");
    // A byte above 0x7F would be a part of a character to Oniguruma.
    if (in_[at_ + 1] == 'x' && peek(2) != '{' && value >= 0x80) fail("\\x80 to \\xFF");
    at_ = after == std::string_view::npos ? begin + length : after;
    return value;
  }

  struct Property {
    std::string inside;  // of a class
    bool negated;
  };

  Property read_property() {
    Property result{{}, peek(1) == 'P'};
    if (peek(2) != '{') fail("\\p without {…}");
    const size_t close = in_.find('}', at_);
    if (close == std::string_view::npos) fail("\\p{ without }");
    std::string name(in_.substr(at_ + 3, close - at_ - 3));
    if (name.starts_with('^')) {
      result.negated = !result.negated;
      name.erase(0, 1);
    }
    if (std::find(std::begin(kCategories), std::end(kCategories), name) != std::end(kCategories)) {
      result.inside = fmt::format("\\p{{{}}}{}", name, additions(name));
    } else if (name == "Any") {
      result.inside = "\\x{0}-\\x{10ffff}";
    } else if (u_getPropertyValueEnum(UCHAR_SCRIPT, name.c_str()) != UCHAR_INVALID_CODE) {
      // Plain \p{Han} means script extensions to PCRE2, the script alone to Oniguruma.
      result.inside = fmt::format("\\p{{sc:{}}}", name);
      if (name == "Han") result.inside += "\\x{2b739}\\x{2ebf0}-\\x{2ee5d}\\x{31350}-\\x{323af}";
    } else {
      fail(
          fmt::format("the property \\p{{{}}} (general categories by their short names and scripts "
                      "are known)",
                      name));
    }
    at_ = close + 1;
    return result;
  }

  void character_class() {
    begin_atom();
    out_ += '[';
    ++at_;
    if (peek() == '^') {
      out_ += '^';
      ++at_;
    }
    for (bool first = true;; first = false) {
      if (at_ >= in_.size()) fail("a '[' without its ']'");
      const char c = in_[at_];
      if (c == ']' && !first) break;
      if (c == '[') fail("a set within a set, or [:name:]");
      if (has("&&")) fail("an intersection (&&)");
      if (c == '-') {
        out_ += '-';
        ++at_;
        continue;
      }
      class_item();
    }
    out_ += ']';
    ++at_;
  }

  void class_item() {
    if (in_[at_] == '\\') {
      switch (peek(1)) {
        case 'p':
        case 'P': {
          const auto property = read_property();
          if (!property.negated) {
            out_ += property.inside;
          } else {
            // Within a class the newer characters cannot be taken out again; they stay in.
            out_ += fmt::format("\\P{}", property.inside.substr(2, property.inside.find('}') - 1));
          }
          return;
        }
        case 's':
          out_ += kSpaces;
          break;
        case 'S':
          out_ += "\\S\\x{180e}";
          break;
        case 'd':
          out_ += "\\p{Nd}" + additions("Nd");
          break;
        case 'D':
          out_ += "\\P{Nd}";
          break;
        case 'w':
          out_ += words();
          break;
        case 'h':
          out_ += "0-9a-fA-F";
          break;
        case 'b':
          out_ += "\\x{8}";
          break;
        case 'W':
        case 'H':
        case 'B':
          fail(fmt::format("\\{} within a set", peek(1)));
        case '-':
          out_ += "\\-";
          break;
        default:
          append_class_literal(read_escaped_literal());
          return;
      }
      at_ += 2;
      return;
    }
    size_t next = at_;
    const char32_t c = next_code_point(in_, next);
    at_ = next;
    append_class_literal(c);
  }

  void append_class_literal(char32_t c) {
    if (caseless_ && c >= 0x80) fail("letters beyond ASCII where case does not matter");
    append_literal(c);
  }

  std::string_view in_;
  size_t at_ = 0;
  std::string out_;
  std::vector<Group> open_;
  std::optional<size_t> atom_;  // where in out_ the last repeatable thing starts
  bool caseless_ = false;
  char32_t last_literal_ = 0;  // lowercased, where case does not matter
};

}  // namespace

std::string translate_regex(std::string_view pattern) {
  if (!is_valid_utf8(pattern)) throw std::invalid_argument("a regular expression is not UTF-8");
  return Translator(pattern).run();
}

}  // namespace coeus
