// Finding any of a set of strings in a text.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace coeus {

/// A byte trie: at each place the longest string that starts there. Immutable once filled.
class TokenMatcher {
 public:
  /// False when `text` is already there, or empty.
  bool add(std::string_view text, int32_t id);
  bool empty() const { return nodes_.size() == 1; }

  struct Match {
    size_t begin;
    size_t end;
    int32_t id;
  };
  /// The leftmost match at or behind `from`, and of those the longest.
  std::optional<Match> find(std::string_view text, size_t from) const;

 private:
  struct Node {
    std::vector<std::pair<unsigned char, uint32_t>> children;
    int32_t id = -1;
  };
  uint32_t child(uint32_t node, unsigned char byte) const;

  std::vector<Node> nodes_{1};
  std::array<bool, 256> starts_{};
};

}  // namespace coeus
