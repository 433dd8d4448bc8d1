#include "coeus/data/tokenizer/normalizer.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uniset.h>

#include "coeus/base/error.h"
#include "coeus/data/tokenizer/pattern.h"
#include "coeus/data/tokenizer/unicode_sets.h"
#include "coeus/data/tokenizer/utf8.h"

namespace coeus {

struct Normalizer::Step {
  Step() = default;
  Step(const Step&) = delete;
  Step& operator=(const Step&) = delete;
  virtual ~Step() = default;
  virtual void apply(NormalizedText& text) const = 0;
};

namespace {

bool is_ascii(std::string_view text) {
  for (const char c : text) {
    if (static_cast<unsigned char>(c) >= 0x80) return false;
  }
  return true;
}

class UnicodeForm final : public Normalizer::Step {
 public:
  explicit UnicodeForm(std::string_view name) {
    UErrorCode status = U_ZERO_ERROR;
    const icu::Normalizer2* form = name == "NFC"    ? icu::Normalizer2::getNFCInstance(status)
                                   : name == "NFD"  ? icu::Normalizer2::getNFDInstance(status)
                                   : name == "NFKC" ? icu::Normalizer2::getNFKCInstance(status)
                                                    : icu::Normalizer2::getNFKDInstance(status);
    known_.applyPattern(u"[:age=9.0:]", status);
    known_.freeze();
    COEUS_CHECK(U_SUCCESS(status), "[tokenizer] ICU cannot normalise to {}: {}", name,
                u_errorName(status));
    filtered_ = std::make_unique<icu::FilteredNormalizer2>(*form, known_);
  }

  void apply(NormalizedText& normalized) const override {
    std::string& text = normalized.text;
    if (is_ascii(text)) return;
    COEUS_CHECK_DATA(text.size() < (1u << 30),
                     "[tokenizer] a text of {} bytes is too long to normalise: split it",
                     text.size());
    UErrorCode status = U_ZERO_ERROR;
    const icu::StringPiece source(text.data(), static_cast<int32_t>(text.size()));
    if (filtered_->isNormalizedUTF8(source, status) && U_SUCCESS(status)) return;
    std::string result;
    icu::StringByteSink<std::string> sink(&result, source.length());
    filtered_->normalizeUTF8(0, source, sink, nullptr, status);
    COEUS_CHECK_DATA(U_SUCCESS(status), "[tokenizer] normalising {} bytes failed: {}", text.size(),
                     u_errorName(status));
    text = std::move(result);
  }

 private:
  icu::UnicodeSet known_;
  std::unique_ptr<icu::FilteredNormalizer2> filtered_;
};

class Lowercase final : public Normalizer::Step {
  void apply(NormalizedText& normalized) const override {
    std::string lower;
    lower.reserve(normalized.text.size());
    for (size_t i = 0; i < normalized.text.size();) {
      append_lowercase(lower, next_code_point(normalized.text, i));
    }
    normalized.text = std::move(lower);
  }
};

class Prepend final : public Normalizer::Step {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}
  void apply(NormalizedText& normalized) const override {
    if (!normalized.text.empty()) normalized.text.insert(0, prefix_);
  }

 private:
  std::string prefix_;
};

class Replace final : public Normalizer::Step {
 public:
  explicit Replace(const JsonNode& node)
      : pattern_(node.at("pattern")), content_(node.at("content").text()) {}

  void apply(NormalizedText& normalized) const override {
    const std::string_view text = normalized.text;
    std::string result;
    size_t copied = 0;
    bool starts_at_origin = normalized.starts_at_origin;
    pattern_.for_each_match(text, [&](size_t begin, size_t end) {
      if (begin == 0 && end > 0) {
        size_t first_end = 0;
        next_code_point(text, first_end);
        // What replaces a run is aligned with the run's last character.
        if (end > first_end || content_.empty()) starts_at_origin = false;
      }
      result.append(text, copied, begin - copied).append(content_);
      copied = end;
    });
    if (copied == 0 && result.empty()) return;
    result.append(text, copied);
    normalized = {std::move(result), starts_at_origin};
  }

 private:
  Pattern pattern_;
  std::string content_;
};

class Strip final : public Normalizer::Step {
 public:
  Strip(bool left, bool right) : left_(left), right_(right) {}
  void apply(NormalizedText& normalized) const override {
    std::string& text = normalized.text;
    size_t begin = 0;
    for (size_t next = 0; left_ && next < text.size();) {
      if (!is_white_space(next_code_point(text, next))) break;
      begin = next;
    }
    size_t end = text.size();
    while (right_ && end > begin) {
      size_t last = previous_boundary(text, end);
      const size_t start = last;
      if (!is_white_space(next_code_point(text, last))) break;
      end = start;
    }
    if (begin > 0) normalized.starts_at_origin = false;
    text = text.substr(begin, end - begin);
  }

 private:
  bool left_;
  bool right_;
};

}  // namespace

Normalizer::Normalizer(const JsonNode& node) {
  if (!node.is_null()) add(node, 0);
}

void Normalizer::add(const JsonNode& node, int depth) {
  if (depth > 16) node.fail("Sequences nest more than 16 deep");
  const std::string type = node.at("type").text();
  if (type == "Sequence") {
    node.allow_only({"type", "normalizers"});
    for (const auto& element : node.at("normalizers").elements()) add(element, depth + 1);
  } else if (type == "NFC" || type == "NFD" || type == "NFKC" || type == "NFKD") {
    node.allow_only({"type"});
    steps_.push_back(std::make_shared<UnicodeForm>(type));
  } else if (type == "Lowercase") {
    node.allow_only({"type"});
    steps_.push_back(std::make_shared<Lowercase>());
  } else if (type == "Prepend") {
    node.allow_only({"type", "prepend"});
    steps_.push_back(std::make_shared<Prepend>(node.at("prepend").text()));
  } else if (type == "Replace") {
    node.allow_only({"type", "pattern", "content"});
    steps_.push_back(std::make_shared<Replace>(node));
  } else if (type == "Strip") {
    node.allow_only({"type", "strip_left", "strip_right"});
    steps_.push_back(
        std::make_shared<Strip>(node.at("strip_left").boolean(), node.at("strip_right").boolean()));
  } else {
    node.fail(
        fmt::format("the normalizer '{}' is not supported (supported: NFC, NFD, NFKC, NFKD, "
                    "Lowercase, Prepend, Replace, Strip, Sequence)",
                    type));
  }
}

void Normalizer::apply(NormalizedText& text) const {
  for (const auto& step : steps_) step->apply(text);
}

std::string Normalizer::operator()(std::string_view text) const {
  NormalizedText normalized{std::string(text)};
  apply(normalized);
  return std::move(normalized.text);
}

}  // namespace coeus
