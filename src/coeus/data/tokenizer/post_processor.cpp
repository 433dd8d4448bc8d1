#include "coeus/data/tokenizer/post_processor.h"

#include <fmt/format.h>

#include "coeus/data/tokenizer/tokenizer_limits.h"

namespace coeus {

PostProcessor::PostProcessor(const JsonNode& node) {
  if (!node.is_null()) add(node, 0);
}

void PostProcessor::add(const JsonNode& node, int depth) {
  if (depth > 16) node.fail("Sequences nest more than 16 deep");
  const std::string type = node.at("type").text();
  if (type == "Sequence") {
    node.allow_only({"type", "processors"});
    for (const auto& element : node.at("processors").elements()) add(element, depth + 1);
  } else if (type == "ByteLevel") {
    node.allow_only({"type", "add_prefix_space", "trim_offsets", "use_regex"});
  } else if (type == "TemplateProcessing") {
    node.allow_only({"type", "single", "pair", "special_tokens"});
    if (template_) node.fail("a second TemplateProcessing is not supported");
    add_template(node);
  } else {
    node.fail(
        fmt::format("the post-processor '{}' is not supported (supported: "
                    "TemplateProcessing, ByteLevel, Sequence)",
                    type));
  }
}

void PostProcessor::add_template(const JsonNode& node) {
  template_.emplace();
  for (const auto& piece : node.at("single").elements()) {
    piece.allow_only({"Sequence", "SpecialToken"});
    if (const auto sequence = piece.find("Sequence")) {
      const auto id = sequence->at("id");
      if (id.text() != "A") id.fail("a template for one text can use the sequence A only");
      template_->push_back({true, {}});
      continue;
    }
    const std::string name = piece.at("SpecialToken").at("id").text();
    Item item;
    for (const auto& id : node.at("special_tokens").at(name).at("ids").elements()) {
      item.ids.push_back(static_cast<int32_t>(id.integer(0, kMaximumTokenId)));
    }
    template_->push_back(std::move(item));
  }
}

std::vector<int32_t> PostProcessor::operator()(std::span<const int32_t> ids,
                                               bool special_tokens) const {
  if (!template_) return {ids.begin(), ids.end()};
  std::vector<int32_t> out;
  out.reserve(ids.size() + 8);
  for (const auto& item : *template_) {
    if (item.sequence) {
      out.insert(out.end(), ids.begin(), ids.end());
    } else if (special_tokens) {
      out.insert(out.end(), item.ids.begin(), item.ids.end());
    }
  }
  return out;
}

}  // namespace coeus
