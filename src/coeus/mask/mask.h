// Masks as values: which keys a query may see, said about the tokens' attributes and never about
// where the tokens are stored.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "coeus/mask/sequence_layout.h"

namespace coeus {

struct MaskNode;

/// A predicate on two tokens, built from the leaves below with `&`, `|` and `~`. Immutable and
/// cheap to copy. Compares, hashes and prints as it was written (chains of one operator are flat);
/// `simplified` gives the canonical form.
class Mask {
 public:
  explicit Mask(std::shared_ptr<const MaskNode> node) : node_(std::move(node)) {}

  /// Whether query q sees key k: the meaning that every lowering and engine is held to.
  /// Throws Error when a `predicate` throws or a token lies outside the bits of a `dense`.
  bool sees(const Token& q, const Token& k) const;

  /// An equal mask in canonical form: no double negation, no operand that another one implies,
  /// windows and the like merged, operands in a fixed order. It sees exactly what this one sees.
  Mask simplified() const;

  /// Text that parse_mask reads back to an equal mask (`dense` and `predicate` only print).
  std::string to_string() const;
  size_t hash() const;
  const MaskNode& node() const { return *node_; }
  const std::shared_ptr<const MaskNode>& shared_node() const { return node_; }

  friend bool operator==(const Mask& a, const Mask& b);
  friend Mask operator&(const Mask& a, const Mask& b);
  friend Mask operator|(const Mask& a, const Mask& b);
  friend Mask operator~(const Mask& a);

 private:
  std::shared_ptr<const MaskNode> node_;
};

/// Reads `causal & document & sliding_window(1024)`: `~` binds tightest, then `&`, then `|`;
/// parentheses group. Throws ConfigError with the column, what was expected and what stands there.
Mask parse_mask(std::string_view text);

/// The leaves. Each throws Error for an argument outside its range.
namespace mask {

/// Always.
Mask full();
/// k.index <= q.index.
Mask causal();
/// q and k are in the same document.
Mask document();
/// -right <= q.index - k.index < left; `left` (at least 1) counts the token itself.
Mask sliding_window(int64_t left, int64_t right = 0);
/// q.index / n == k.index / n in whole numbers: Llama 4's fixed attention blocks.
Mask chunk(int64_t n);
/// k.index < n: with `causal`, the prefix language model.
Mask prefix(int64_t n);
/// q and k are in the same document and k.offset < n: attention sinks (StreamingLLM).
Mask sink(int64_t n);
/// q.index - k.index is a multiple of n.
Mask dilated(int64_t n);
/// The bit at [q.index, k.index] of a row-major matrix; every byte but 0 counts as set.
Mask dense(int64_t queries, int64_t keys, const std::vector<uint8_t>& bits);

using Predicate = std::function<bool(const Token& q, const Token& k)>;
/// Whatever `function` says. It must depend on nothing but the tokens' attributes and may be called
/// from several threads. Two predicates are equal when they share name and function object, that
/// is, when one Mask is a copy of the other.
Mask predicate(std::string name, Predicate function);

}  // namespace mask
}  // namespace coeus

template <>
struct std::hash<coeus::Mask> {
  size_t operator()(const coeus::Mask& mask) const { return mask.hash(); }
};
