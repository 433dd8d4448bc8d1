// The tree behind a Mask, for the parts of mask/ that walk it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "coeus/mask/mask.h"

namespace coeus {

/// Ordered as `simplified` orders operands: cheap and common first.
enum class MaskKind : uint8_t {
  kNone,
  kFull,
  kCausal,
  kDocument,
  kSlidingWindow,
  kChunk,
  kPrefix,
  kSink,
  kDilated,
  kDense,
  kPredicate,
  kNot,
  kAnd,
  kOr,
};

using MaskPointer = std::shared_ptr<const MaskNode>;

struct MaskNode {
  MaskKind kind = MaskKind::kFull;
  /// The leaf's numbers: `left` and `right`, or n; rows and columns of `dense`.
  int64_t a = 0;
  int64_t b = 0;
  /// One for kNot, two or more for kAnd and kOr, none of them of the same kind as this node.
  std::vector<MaskPointer> operands;
  std::shared_ptr<const std::vector<uint64_t>> bits;
  std::string name;
  std::shared_ptr<const mask::Predicate> predicate;
  /// Set by make_node.
  size_t hash = 0;
  int depth = 1;

  bool is_leaf() const { return operands.empty(); }
};

/// Trees deeper than this are refused, so that walking them cannot exhaust the stack.
inline constexpr int kDeepestMask = 500;

/// Fills in hash and depth; flattens operands of the node's own kind. Throws Error when too deep.
MaskPointer make_node(MaskNode node);
MaskPointer make_leaf(MaskKind kind, int64_t a = 0, int64_t b = 0);
MaskPointer make_not(MaskPointer operand);
/// kAnd or kOr of any number of operands; one operand stands for itself, none for full or none.
MaskPointer make_chain(MaskKind kind, std::vector<MaskPointer> operands);

/// A total order that is 0 exactly for equal masks (predicates by name, then address).
int compare_nodes(const MaskNode& a, const MaskNode& b);

/// What a leaf of the given node says of two tokens, or the operators of their operands.
bool node_sees(const MaskNode& node, const Token& q, const Token& k);

/// True only if every pair that `a` sees is seen by `b`, in any layout; false may mean unknown.
bool implies(const MaskNode& a, const MaskNode& b);

MaskPointer simplify(const MaskPointer& node);

/// The attributes that a mask looks at.
struct AttributeUse {
  bool index = false;
  bool document = false;
  bool offset = false;
  bool extra = false;
};
AttributeUse attributes_used(const MaskNode& node);

/// The name a leaf has in text, "" for operators.
std::string_view leaf_name(MaskKind kind);

}  // namespace coeus
