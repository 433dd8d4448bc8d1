#include "coeus/data/tokenizer/pre_tokenizer.h"

#include <fmt/format.h>

#include "coeus/data/tokenizer/byte_alphabet.h"
#include "coeus/data/tokenizer/pattern.h"
#include "coeus/data/tokenizer/split_behavior.h"
#include "coeus/data/tokenizer/unicode_sets.h"
#include "coeus/data/tokenizer/utf8.h"

namespace coeus {

class PreTokenizer::Step {
 public:
  Step() = default;
  Step(const Step&) = delete;
  Step& operator=(const Step&) = delete;
  virtual ~Step() = default;
  virtual void run(const Piece& piece, PieceSink& next) const = 0;
};

namespace {

constexpr std::string_view kGpt2Words =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// Cuts `piece` as `for_each_match(on_match)` finds matches in it.
template <class ForEachMatch>
void split(const Piece& piece, SplitBehavior behavior, bool invert, PieceSink& next,
           ForEachMatch&& for_each_match) {
  Splitter splitter(behavior, [&](size_t begin, size_t end) {
    next.take({piece.text.substr(begin, end - begin), piece.at_origin && begin == 0});
  });
  size_t covered = 0;
  for_each_match([&](size_t begin, size_t end) {
    if (begin > covered) splitter.add({covered, begin, invert});
    splitter.add({begin, end, !invert});
    covered = end;
  });
  if (covered < piece.text.size()) splitter.add({covered, piece.text.size(), invert});
  splitter.finish();
}

// Each character for which `matches(c)` holds is a match.
template <class Matches>
void split_at_characters(const Piece& piece, SplitBehavior behavior, PieceSink& next,
                         Matches&& matches) {
  split(piece, behavior, false, next, [&](auto&& on_match) {
    for (size_t i = 0; i < piece.text.size();) {
      const size_t begin = i;
      if (matches(next_code_point(piece.text, i))) on_match(begin, i);
    }
  });
}

class Split final : public PreTokenizer::Step {
 public:
  explicit Split(const JsonNode& node)
      : pattern_(node.at("pattern")),
        behavior_(read_split_behavior(node.at("behavior"))),
        invert_(node.boolean_or("invert", false)) {}

  void run(const Piece& piece, PieceSink& next) const override {
    split(piece, behavior_, invert_, next,
          [&](auto&& on_match) { pattern_.for_each_match(piece.text, on_match); });
  }

 private:
  Pattern pattern_;
  SplitBehavior behavior_;
  bool invert_;
};

class ByteLevel final : public PreTokenizer::Step {
 public:
  ByteLevel(bool add_prefix_space, bool use_regex)
      : add_prefix_space_(add_prefix_space), use_regex_(use_regex), words_(kGpt2Words) {}

  void run(const Piece& piece, PieceSink& next) const override {
    if (add_prefix_space_ && !piece.text.starts_with(' ')) {
      std::string prefixed(piece.text);
      prefixed.insert(prefixed.begin(), ' ');
      cut({prefixed, piece.at_origin}, next);
    } else {
      cut(piece, next);
    }
  }

 private:
  void cut(const Piece& piece, PieceSink& next) const {
    if (!use_regex_) return next.take(piece);
    split(piece, SplitBehavior::kIsolated, false, next,
          [&](auto&& on_match) { words_.for_each_match(piece.text, on_match); });
  }

  bool add_prefix_space_;
  bool use_regex_;
  Regex words_;
};

// The second half of ByteLevel, where a further step wants to see its alphabet.
class ByteAlphabet final : public PreTokenizer::Step {
  void run(const Piece& piece, PieceSink& next) const override {
    const std::string mapped = bytes_to_alphabet(piece.text);
    next.take({mapped, piece.at_origin});
  }
};

class Digits final : public PreTokenizer::Step {
 public:
  explicit Digits(bool individual)
      : behavior_(individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous) {}
  void run(const Piece& piece, PieceSink& next) const override {
    split_at_characters(piece, behavior_, next, is_numeric);
  }

 private:
  SplitBehavior behavior_;
};

class Punctuation final : public PreTokenizer::Step {
 public:
  explicit Punctuation(SplitBehavior behavior) : behavior_(behavior) {}
  void run(const Piece& piece, PieceSink& next) const override {
    split_at_characters(piece, behavior_, next, is_punctuation);
  }

 private:
  SplitBehavior behavior_;
};

class WhitespaceSplit final : public PreTokenizer::Step {
  void run(const Piece& piece, PieceSink& next) const override {
    split_at_characters(piece, SplitBehavior::kRemoved, next, is_white_space);
  }
};

// Keeps the runs of \w and the runs of what is neither \w nor white space.
class Whitespace final : public PreTokenizer::Step {
  void run(const Piece& piece, PieceSink& next) const override {
    enum class Kind { kNone, kSpace, kWord, kOther };
    Kind kind = Kind::kNone;
    size_t begin = 0;
    const auto flush = [&](size_t end) {
      if (kind != Kind::kWord && kind != Kind::kOther) return;
      next.take({piece.text.substr(begin, end - begin), piece.at_origin && begin == 0});
    };
    for (size_t i = 0; i < piece.text.size();) {
      const size_t at = i;
      const char32_t c = next_code_point(piece.text, i);
      const Kind here = is_word(c) ? Kind::kWord : is_white_space(c) ? Kind::kSpace : Kind::kOther;
      if (here == kind) continue;
      flush(at);
      kind = here;
      begin = at;
    }
    flush(piece.text.size());
  }
};

class Metaspace final : public PreTokenizer::Step {
 public:
  explicit Metaspace(const JsonNode& node) : split_(node.boolean_or("split", true)) {
    append_utf8(replacement_, node.at("replacement").character());
    const auto scheme = node.find("prepend_scheme");
    scheme_ = scheme ? scheme->text() : "always";
    if (scheme_ != "always" && scheme_ != "first" && scheme_ != "never") {
      scheme->fail(fmt::format("'{}' is not one of always, first, never", scheme_));
    }
    if (!node.boolean_or("add_prefix_space", true) && scheme_ != "never") {
      node.fail("add_prefix_space is false, but prepend_scheme is not never");
    }
  }

  void run(const Piece& piece, PieceSink& next) const override {
    std::string text;
    text.reserve(piece.text.size() + 16);
    for (const char c : piece.text) {
      if (c == ' ') {
        text += replacement_;
      } else {
        text += c;
      }
    }
    const bool prepend = scheme_ == "always" || (scheme_ == "first" && piece.at_origin);
    if (prepend && !text.starts_with(replacement_)) text.insert(0, replacement_);
    const Piece whole{text, piece.at_origin};
    if (!split_) return next.take(whole);
    split(whole, SplitBehavior::kMergedWithNext, false, next, [&](auto&& on_match) {
      for (size_t at = text.find(replacement_); at != std::string::npos;
           at = text.find(replacement_, at + replacement_.size())) {
        on_match(at, at + replacement_.size());
      }
    });
  }

 private:
  std::string replacement_;
  std::string scheme_;
  bool split_;
};

}  // namespace

PreTokenizer::PreTokenizer(const JsonNode& node) {
  if (!node.is_null()) add(node, 0);
}

void PreTokenizer::add(const JsonNode& node, int depth) {
  if (depth > 16) node.fail("Sequences nest more than 16 deep");
  const std::string type = node.at("type").text();
  if (type == "Sequence") {
    node.allow_only({"type", "pretokenizers"});
    for (const auto& element : node.at("pretokenizers").elements()) add(element, depth + 1);
    return;
  }
  if (yields_bytes_) {
    steps_.push_back(std::make_shared<ByteAlphabet>());
    yields_bytes_ = false;
  }
  if (type == "Split") {
    node.allow_only({"type", "pattern", "behavior", "invert"});
    steps_.push_back(std::make_shared<Split>(node));
  } else if (type == "ByteLevel") {
    node.allow_only({"type", "add_prefix_space", "trim_offsets", "use_regex"});
    steps_.push_back(std::make_shared<ByteLevel>(node.at("add_prefix_space").boolean(),
                                                 node.boolean_or("use_regex", true)));
    yields_bytes_ = true;
  } else if (type == "Digits") {
    node.allow_only({"type", "individual_digits"});
    steps_.push_back(std::make_shared<Digits>(node.at("individual_digits").boolean()));
  } else if (type == "Punctuation") {
    node.allow_only({"type", "behavior"});
    const auto behavior = node.find("behavior");
    steps_.push_back(std::make_shared<Punctuation>(behavior ? read_split_behavior(*behavior)
                                                            : SplitBehavior::kIsolated));
  } else if (type == "Whitespace") {
    node.allow_only({"type"});
    steps_.push_back(std::make_shared<Whitespace>());
  } else if (type == "WhitespaceSplit") {
    node.allow_only({"type"});
    steps_.push_back(std::make_shared<WhitespaceSplit>());
  } else if (type == "Metaspace") {
    node.allow_only(
        {"type", "replacement", "prepend_scheme", "split", "add_prefix_space", "str_rep"});
    steps_.push_back(std::make_shared<Metaspace>(node));
  } else {
    node.fail(
        fmt::format("the pre-tokenizer '{}' is not supported (supported: Split, ByteLevel, "
                    "Digits, Punctuation, Whitespace, WhitespaceSplit, Metaspace, Sequence)",
                    type));
  }
}

void PreTokenizer::run(const Piece& text, PieceSink& sink) const { run_from(0, text, sink); }

void PreTokenizer::run_from(size_t step, const Piece& text, PieceSink& sink) const {
  if (step == steps_.size()) return sink.take(text);
  if (step + 1 == steps_.size()) return steps_[step]->run(text, sink);
  struct Next final : PieceSink {
    const PreTokenizer& owner;
    size_t step;
    PieceSink& sink;
    Next(const PreTokenizer& o, size_t n, PieceSink& s) : owner(o), step(n), sink(s) {}
    void take(const Piece& piece) override { owner.run_from(step, piece, sink); }
  } next(*this, step + 1, sink);
  steps_[step]->run(text, next);
}

}  // namespace coeus
