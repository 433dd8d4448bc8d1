#include "coeus/data/tokenizer/pattern.h"

#include <stdexcept>

namespace coeus {

Pattern::Pattern(const JsonNode& node) {
  node.allow_only({"String", "Regex"});
  if (const auto string = node.find("String")) {
    string_ = string->text();
    if (string_.empty()) string->fail("an empty string matches nothing: it is not supported");
    return;
  }
  const JsonNode expression = node.at("Regex");
  try {
    regex_.emplace(expression.text());
  } catch (const std::invalid_argument& error) {
    expression.fail(error.what());
  }
}

}  // namespace coeus
