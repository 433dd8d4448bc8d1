#include "coeus/mask/mask.h"

#include <limits>
#include <utility>

#include "coeus/base/error.h"
#include "coeus/mask/mask_node.h"

namespace coeus {
namespace {

constexpr int64_t kLargest = std::numeric_limits<int32_t>::max();

Mask one_number_leaf(MaskKind kind, int64_t n, int64_t least) {
  COEUS_CHECK(n >= least && n <= kLargest, "[{}] n must be from {} to {}, got {}", leaf_name(kind),
              least, kLargest, n);
  return Mask(make_leaf(kind, n));
}

std::string operand_text(const MaskNode& node, bool parenthesize);

std::string node_text(const MaskNode& node) {
  switch (node.kind) {
    case MaskKind::kNone:
      return "~full";
    case MaskKind::kFull:
    case MaskKind::kCausal:
    case MaskKind::kDocument:
      return std::string(leaf_name(node.kind));
    case MaskKind::kSlidingWindow:
      return node.b == 0 ? fmt::format("sliding_window({})", node.a)
                         : fmt::format("sliding_window({}, {})", node.a, node.b);
    case MaskKind::kChunk:
    case MaskKind::kPrefix:
    case MaskKind::kSink:
    case MaskKind::kDilated:
      return fmt::format("{}({})", leaf_name(node.kind), node.a);
    case MaskKind::kDense:
      return fmt::format("dense({} x {})", node.a, node.b);
    case MaskKind::kPredicate:
      return fmt::format("predicate({})", node.name);
    case MaskKind::kNot:
      return fmt::format(
          "~{}", operand_text(*node.operands[0], !node.operands[0]->is_leaf() &&
                                                     node.operands[0]->kind != MaskKind::kNot));
    case MaskKind::kAnd:
    case MaskKind::kOr: {
      std::string text;
      for (const auto& operand : node.operands) {
        if (!text.empty()) text += node.kind == MaskKind::kAnd ? " & " : " | ";
        text += operand_text(*operand, operand->kind == MaskKind::kOr);
      }
      return text;
    }
  }
  COEUS_ASSERT(false);
}

std::string operand_text(const MaskNode& node, bool parenthesize) {
  return parenthesize ? fmt::format("({})", node_text(node)) : node_text(node);
}

}  // namespace

bool Mask::sees(const Token& q, const Token& k) const { return node_sees(*node_, q, k); }
Mask Mask::simplified() const { return Mask(simplify(node_)); }
std::string Mask::to_string() const { return node_text(*node_); }
size_t Mask::hash() const { return node_->hash; }

bool operator==(const Mask& a, const Mask& b) {
  return a.node_->hash == b.node_->hash && compare_nodes(*a.node_, *b.node_) == 0;
}
Mask operator&(const Mask& a, const Mask& b) {
  return Mask(make_chain(MaskKind::kAnd, {a.node_, b.node_}));
}
Mask operator|(const Mask& a, const Mask& b) {
  return Mask(make_chain(MaskKind::kOr, {a.node_, b.node_}));
}
Mask operator~(const Mask& a) { return Mask(make_not(a.node_)); }

namespace mask {

Mask full() { return Mask(make_leaf(MaskKind::kFull)); }
Mask causal() { return Mask(make_leaf(MaskKind::kCausal)); }
Mask document() { return Mask(make_leaf(MaskKind::kDocument)); }

Mask sliding_window(int64_t left, int64_t right) {
  COEUS_CHECK(left >= 1 && left <= kLargest,
              "[sliding_window] left counts the token itself and must be from 1 to {}, got {}",
              kLargest, left);
  COEUS_CHECK(right >= 0 && right <= kLargest,
              "[sliding_window] right must be from 0 to {}, got {}", kLargest, right);
  return Mask(make_leaf(MaskKind::kSlidingWindow, left, right));
}

Mask chunk(int64_t n) { return one_number_leaf(MaskKind::kChunk, n, 1); }
Mask prefix(int64_t n) { return one_number_leaf(MaskKind::kPrefix, n, 0); }
Mask sink(int64_t n) { return one_number_leaf(MaskKind::kSink, n, 0); }
Mask dilated(int64_t n) { return one_number_leaf(MaskKind::kDilated, n, 1); }

Mask dense(int64_t queries, int64_t keys, const std::vector<uint8_t>& bits) {
  COEUS_CHECK(queries >= 0 && keys >= 0 && queries <= kLargest && keys <= kLargest,
              "[dense] {} x {} is no size of a matrix of bits", queries, keys);
  COEUS_CHECK(static_cast<int64_t>(bits.size()) == queries * keys,
              "[dense] {} x {} needs {} entries, got {}", queries, keys, queries * keys,
              bits.size());
  auto packed = std::make_shared<std::vector<uint64_t>>((bits.size() + 63) / 64);
  for (size_t i = 0; i < bits.size(); ++i) {
    (*packed)[i / 64] |= uint64_t{bits[i] != 0} << (i % 64);
  }
  MaskNode node;
  node.kind = MaskKind::kDense;
  node.a = queries;
  node.b = keys;
  node.bits = std::move(packed);
  return Mask(make_node(std::move(node)));
}

Mask predicate(std::string name, Predicate function) {
  COEUS_CHECK(function != nullptr, "[predicate '{}'] has no function to call", name);
  MaskNode node;
  node.kind = MaskKind::kPredicate;
  node.name = std::move(name);
  node.predicate = std::make_shared<const Predicate>(std::move(function));
  return Mask(make_node(std::move(node)));
}

}  // namespace mask
}  // namespace coeus
