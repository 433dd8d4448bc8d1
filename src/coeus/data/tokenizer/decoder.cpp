#include "coeus/data/tokenizer/decoder.h"

#include <fmt/format.h>

#include <algorithm>

#include "coeus/data/tokenizer/byte_alphabet.h"
#include "coeus/data/tokenizer/pattern.h"
#include "coeus/data/tokenizer/utf8.h"

namespace coeus {

class Decoder::Step {
 public:
  Step() = default;
  Step(const Step&) = delete;
  Step& operator=(const Step&) = delete;
  virtual ~Step() = default;
  virtual void run(std::vector<std::string>& tokens) const = 0;
};

namespace {

using Tokens = std::vector<std::string>;

void fuse(Tokens& tokens) {
  std::string all;
  for (const auto& token : tokens) all += token;
  tokens.assign(1, all);
}

class ByteLevel final : public Decoder::Step {
  void run(Tokens& tokens) const override {
    std::string bytes;
    for (const auto& token : tokens) bytes += alphabet_to_bytes(token).value_or(token);
    tokens.assign(1, replace_invalid_utf8(bytes));
  }
};

class Fuse final : public Decoder::Step {
  void run(Tokens& tokens) const override { fuse(tokens); }
};

// Runs of <0xHH> become the characters they spell, or one U+FFFD for each byte if they spell none.
class ByteFallback final : public Decoder::Step {
  void run(Tokens& tokens) const override {
    Tokens out;
    std::string bytes;
    const auto flush = [&] {
      if (bytes.empty()) return;
      if (is_valid_utf8(bytes)) {
        out.push_back(bytes);
      } else {
        out.insert(out.end(), bytes.size(), "\xEF\xBF\xBD");
      }
      bytes.clear();
    };
    for (auto& token : tokens) {
      if (const int byte = byte_of(token); byte >= 0) {
        bytes.push_back(static_cast<char>(byte));
        continue;
      }
      flush();
      out.push_back(std::move(token));
    }
    flush();
    tokens = std::move(out);
  }

  static int byte_of(const std::string& token) {
    if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
    const auto digit = [](char c) {
      if (c >= '0' && c <= '9') return c - '0';
      if (c >= 'a' && c <= 'f') return c - 'a' + 10;
      if (c >= 'A' && c <= 'F') return c - 'A' + 10;
      return -1;
    };
    // Rust's from_str_radix takes a sign too.
    if (token[3] == '+') return digit(token[4]);
    const int high = digit(token[3]);
    const int low = digit(token[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
  }
};

class Strip final : public Decoder::Step {
 public:
  explicit Strip(const JsonNode& node)
      : start_(static_cast<size_t>(node.at("start").integer(0, 1 << 30))),
        stop_(static_cast<size_t>(node.at("stop").integer(0, 1 << 30))) {
    append_utf8(content_, node.at("content").character());
  }

  void run(Tokens& tokens) const override {
    for (auto& token : tokens) {
      std::string_view rest = token;
      for (size_t i = 0; i < start_ && rest.starts_with(content_); ++i) {
        rest.remove_prefix(content_.size());
      }
      for (size_t i = 0; i < stop_ && rest.ends_with(content_); ++i) {
        rest.remove_suffix(content_.size());
      }
      token = std::string(rest);
    }
  }

 private:
  std::string content_;
  size_t start_;
  size_t stop_;
};

class Replace final : public Decoder::Step {
 public:
  explicit Replace(const JsonNode& node)
      : pattern_(node.at("pattern")), content_(node.at("content").text()) {}

  void run(Tokens& tokens) const override {
    for (auto& token : tokens) {
      std::string out;
      size_t copied = 0;
      pattern_.for_each_match(token, [&](size_t begin, size_t end) {
        out.append(token, copied, begin - copied).append(content_);
        copied = end;
      });
      out.append(token, copied);
      token = std::move(out);
    }
  }

 private:
  Pattern pattern_;
  std::string content_;
};

class Metaspace final : public Decoder::Step {
 public:
  explicit Metaspace(const JsonNode& node) : drop_first_(true) {
    append_utf8(replacement_, node.at("replacement").character());
    if (const auto scheme = node.find("prepend_scheme")) drop_first_ = scheme->text() != "never";
    if (!node.boolean_or("add_prefix_space", true) && drop_first_) {
      node.fail("add_prefix_space is false, but prepend_scheme is not never");
    }
  }

  void run(Tokens& tokens) const override {
    for (size_t i = 0; i < tokens.size(); ++i) {
      std::string out;
      std::string_view rest = tokens[i];
      while (!rest.empty()) {
        if (rest.starts_with(replacement_)) {
          if (i > 0 || !drop_first_) out += ' ';
          rest.remove_prefix(replacement_.size());
        } else {
          out += rest[0];
          rest.remove_prefix(1);
        }
      }
      tokens[i] = std::move(out);
    }
  }

 private:
  std::string replacement_;
  bool drop_first_;
};

}  // namespace

Decoder::Decoder(const JsonNode& node) : present_(!node.is_null()) {
  if (present_) add(node, 0);
}

void Decoder::add(const JsonNode& node, int depth) {
  if (depth > 16) node.fail("Sequences nest more than 16 deep");
  const std::string type = node.at("type").text();
  if (type == "Sequence") {
    node.allow_only({"type", "decoders"});
    for (const auto& element : node.at("decoders").elements()) add(element, depth + 1);
  } else if (type == "ByteLevel") {
    node.allow_only({"type", "add_prefix_space", "trim_offsets", "use_regex"});
    steps_.push_back(std::make_shared<ByteLevel>());
  } else if (type == "ByteFallback") {
    node.allow_only({"type"});
    steps_.push_back(std::make_shared<ByteFallback>());
  } else if (type == "Fuse") {
    node.allow_only({"type"});
    steps_.push_back(std::make_shared<Fuse>());
  } else if (type == "Strip") {
    node.allow_only({"type", "content", "start", "stop"});
    steps_.push_back(std::make_shared<Strip>(node));
  } else if (type == "Replace") {
    node.allow_only({"type", "pattern", "content"});
    steps_.push_back(std::make_shared<Replace>(node));
  } else if (type == "Metaspace") {
    node.allow_only(
        {"type", "replacement", "prepend_scheme", "split", "add_prefix_space", "str_rep"});
    steps_.push_back(std::make_shared<Metaspace>(node));
  } else {
    node.fail(
        fmt::format("the decoder '{}' is not supported (supported: ByteLevel, ByteFallback, "
                    "Fuse, Strip, Replace, Metaspace, Sequence)",
                    type));
  }
}

std::string Decoder::operator()(std::vector<std::string> tokens) const {
  if (!present_) {
    std::string joined;
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (i > 0) joined += ' ';
      joined += tokens[i];
    }
    return joined;
  }
  for (const auto& step : steps_) step->run(tokens);
  fuse(tokens);
  return std::move(tokens[0]);
}

}  // namespace coeus
