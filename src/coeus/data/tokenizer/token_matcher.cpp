#include "coeus/data/tokenizer/token_matcher.h"

namespace coeus {

uint32_t TokenMatcher::child(uint32_t node, unsigned char byte) const {
  for (const auto& [label, target] : nodes_[node].children) {
    if (label == byte) return target;
  }
  return 0;
}

bool TokenMatcher::add(std::string_view text, int32_t id) {
  if (text.empty()) return false;
  starts_[static_cast<unsigned char>(text[0])] = true;
  uint32_t node = 0;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    uint32_t target = child(node, byte);
    if (target == 0) {
      target = static_cast<uint32_t>(nodes_.size());
      nodes_[node].children.emplace_back(byte, target);
      nodes_.emplace_back();
    }
    node = target;
  }
  if (nodes_[node].id >= 0) return false;
  nodes_[node].id = id;
  return true;
}

std::optional<TokenMatcher::Match> TokenMatcher::find(std::string_view text, size_t from) const {
  for (size_t begin = from; begin < text.size(); ++begin) {
    if (!starts_[static_cast<unsigned char>(text[begin])]) continue;
    std::optional<Match> longest;
    uint32_t node = 0;
    for (size_t at = begin; at < text.size(); ++at) {
      node = child(node, static_cast<unsigned char>(text[at]));
      if (node == 0) break;
      if (nodes_[node].id >= 0) longest = Match{begin, at + 1, nodes_[node].id};
    }
    if (longest) return longest;
  }
  return std::nullopt;
}

}  // namespace coeus
