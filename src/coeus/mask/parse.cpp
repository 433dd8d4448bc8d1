#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <string>
#include <utility>

#include "coeus/base/error.h"
#include "coeus/base/nearest_name.h"
#include "coeus/mask/mask.h"
#include "coeus/mask/mask_node.h"

namespace coeus {
namespace {

struct LeafSyntax {
  MaskKind kind;
  /// Least values of its numbers; the second may be left out.
  std::vector<int64_t> least;
  std::vector<std::string_view> names;
};

const std::array<LeafSyntax, 8> kLeaves = {{
    {MaskKind::kFull, {}, {}},
    {MaskKind::kCausal, {}, {}},
    {MaskKind::kDocument, {}, {}},
    {MaskKind::kSlidingWindow, {1, 0}, {"left", "right"}},
    {MaskKind::kChunk, {1}, {"n"}},
    {MaskKind::kPrefix, {0}, {"n"}},
    {MaskKind::kSink, {0}, {"n"}},
    {MaskKind::kDilated, {1}, {"n"}},
}};

bool is_name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Mask parse() {
    Mask result = parse_chain(MaskKind::kOr);
    if (at_ != text_.size()) fail("expected '&', '|' or the end", at_);
    return result;
  }

 private:
  [[noreturn]] void fail(const std::string& complaint, size_t place) const {
    std::string found = "the end";
    if (place < text_.size()) {
      size_t end = place;
      while (end < text_.size() && end - place < 32 && is_name_character(text_[end])) ++end;
      found = fmt::format("'{}'", text_.substr(place, std::max<size_t>(end - place, 1)));
    }
    throw ConfigError(fmt::format("[mask] column {}: {}, found {} in \"{}\"", place + 1, complaint,
                                  found, text_));
  }

  void skip_space() {
    while (at_ < text_.size() &&
           (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r')) {
      ++at_;
    }
  }

  bool take(char c) {
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    skip_space();
    return true;
  }

  std::string_view take_name() {
    const size_t begin = at_;
    while (at_ < text_.size() && is_name_character(text_[at_])) ++at_;
    const auto name = text_.substr(begin, at_ - begin);
    skip_space();
    return name;
  }

  Mask parse_chain(MaskKind kind) {
    skip_space();
    std::vector<MaskPointer> operands;
    do {
      operands.push_back(
          (kind == MaskKind::kOr ? parse_chain(MaskKind::kAnd) : parse_operand()).shared_node());
    } while (take(kind == MaskKind::kOr ? '|' : '&'));
    return Mask(make_chain(kind, std::move(operands)));
  }

  Mask parse_operand() {
    const size_t place = at_;
    if (++nesting_ > kDeepestNesting) {
      fail(fmt::format("more than {} levels of '~' and '('", kDeepestNesting), place);
    }
    Mask result = parse_nested();
    --nesting_;
    return result;
  }

  Mask parse_nested() {
    if (take('~')) return ~parse_operand();
    if (take('(')) {
      Mask inner = parse_chain(MaskKind::kOr);
      if (!take(')')) fail("expected '&', '|' or ')'", at_);
      return inner;
    }
    return parse_leaf();
  }

  Mask parse_leaf() {
    const size_t place = at_;
    const std::string_view name = take_name();
    const auto leaf = std::find_if(kLeaves.begin(), kLeaves.end(),
                                   [&](const LeafSyntax& l) { return leaf_name(l.kind) == name; });
    if (leaf == kLeaves.end()) fail(name_complaint(name), place);
    if (leaf->names.empty()) return Mask(make_leaf(leaf->kind));
    return parse_numbers(*leaf);
  }

  static std::string name_complaint(std::string_view name) {
    if (name == "dense" || name == "predicate") {
      return fmt::format("{} has no form in text, build it in code; expected a mask", name);
    }
    std::vector<std::string> names;
    for (const auto& leaf : kLeaves) names.emplace_back(leaf_name(leaf.kind));
    if (const auto nearest = nearest_name(name, names); nearest && !name.empty()) {
      return fmt::format("expected a mask, did you mean '{}'?", *nearest);
    }
    return fmt::format("expected a mask ({}), '~' or '('", fmt::join(names, ", "));
  }

  Mask parse_numbers(const LeafSyntax& leaf) {
    const std::string_view name = leaf_name(leaf.kind);
    if (!take('(')) {
      fail(fmt::format("expected '({})' after {}", fmt::join(leaf.names, ", "), name), at_);
    }
    int64_t values[2] = {0, 0};
    size_t count = 0;
    do {
      if (count == leaf.names.size()) fail(fmt::format("{} takes no more numbers", name), at_);
      values[count] = parse_number(leaf, count);
      ++count;
    } while (take(','));
    if (!take(')')) fail("expected ',' or ')'", at_);
    return Mask(make_leaf(leaf.kind, values[0], values[1]));
  }

  int64_t parse_number(const LeafSyntax& leaf, size_t which) {
    const size_t start = at_;
    if (take_name() != leaf.names[which] || !take('=')) {
      at_ = start;
    }
    constexpr int64_t kLargest = std::numeric_limits<int32_t>::max();
    int64_t value = 0;
    const size_t place = at_;
    const char* const end = text_.data() + text_.size();
    const auto [stop, error] = std::from_chars(text_.data() + at_, end, value);
    const bool ends = stop == end || !is_name_character(*stop);
    if (error != std::errc() || !ends || value < leaf.least[which] || value > kLargest) {
      fail(fmt::format("expected {} of {}, a whole number from {} to {}", leaf.names[which],
                       leaf_name(leaf.kind), leaf.least[which], kLargest),
           place);
    }
    at_ = stop - text_.data();
    skip_space();
    return value;
  }

  static constexpr int kDeepestNesting = 200;
  std::string_view text_;
  size_t at_ = 0;
  int nesting_ = 0;
};

}  // namespace

Mask parse_mask(std::string_view text) { return Parser(text).parse(); }

}  // namespace coeus
