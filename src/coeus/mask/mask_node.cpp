#include "coeus/mask/mask_node.h"

#include <algorithm>
#include <compare>
#include <functional>
#include <string_view>
#include <utility>

#include "coeus/base/error.h"

namespace coeus {
namespace {

size_t mix(size_t seed, size_t value) {
  return seed ^ (value + 0x9e3779b97f4a7c15u + (seed << 12) + (seed >> 4));
}

int sign(std::strong_ordering order) { return order < 0 ? -1 : order > 0 ? 1 : 0; }

bool predicate_sees(const MaskNode& node, const Token& q, const Token& k) {
  const auto complaint = [&](std::string_view what) {
    return Error(fmt::format(
        "[predicate '{}'] threw \"{}\" for query (index {}, document {}, offset {}) and key (index "
        "{}, document {}, offset {}); a mask's function must answer for every pair of tokens",
        node.name, what, q.index, q.document, q.offset, k.index, k.document, k.offset));
  };
  try {
    return (*node.predicate)(q, k);
  } catch (const std::exception& error) {
    throw complaint(error.what());
  } catch (...) {
    throw complaint("something that is no std::exception");
  }
}

bool dense_sees(const MaskNode& node, const Token& q, const Token& k) {
  COEUS_CHECK(q.index < node.a && k.index < node.b,
              "[dense] the bits are {} x {}, but a query has index {} and a key index {}; give a "
              "bit for every pair of indices",
              node.a, node.b, q.index, k.index);
  const int64_t bit = q.index * node.b + k.index;
  return ((*node.bits)[bit / 64] >> (bit % 64)) & 1;
}

}  // namespace

MaskPointer make_node(MaskNode node) {
  if (node.kind == MaskKind::kAnd || node.kind == MaskKind::kOr) {
    std::vector<MaskPointer> flat;
    for (auto& operand : node.operands) {
      if (operand->kind == node.kind) {
        flat.insert(flat.end(), operand->operands.begin(), operand->operands.end());
      } else {
        flat.push_back(std::move(operand));
      }
    }
    node.operands = std::move(flat);
  }
  size_t hash = mix(static_cast<size_t>(node.kind), std::hash<int64_t>{}(node.a));
  hash = mix(hash, std::hash<int64_t>{}(node.b));
  hash = mix(hash, std::hash<std::string>{}(node.name));
  hash = mix(hash, std::hash<const void*>{}(node.predicate.get()));
  if (node.bits) {
    for (const uint64_t word : *node.bits) hash = mix(hash, word);
  }
  for (const auto& operand : node.operands) {
    hash = mix(hash, operand->hash);
    node.depth = std::max(node.depth, operand->depth + 1);
  }
  node.hash = hash;
  COEUS_CHECK(node.depth <= kDeepestMask, "[Mask] an expression nests more than {} levels deep",
              kDeepestMask);
  return std::make_shared<const MaskNode>(std::move(node));
}

MaskPointer make_leaf(MaskKind kind, int64_t a, int64_t b) {
  MaskNode node;
  node.kind = kind;
  node.a = a;
  node.b = b;
  return make_node(std::move(node));
}

MaskPointer make_not(MaskPointer operand) {
  MaskNode node;
  node.kind = MaskKind::kNot;
  node.operands.push_back(std::move(operand));
  return make_node(std::move(node));
}

MaskPointer make_chain(MaskKind kind, std::vector<MaskPointer> operands) {
  if (operands.size() == 1) return std::move(operands.front());
  if (operands.empty()) {
    return make_leaf(kind == MaskKind::kAnd ? MaskKind::kFull : MaskKind::kNone);
  }
  MaskNode node;
  node.kind = kind;
  node.operands = std::move(operands);
  return make_node(std::move(node));
}

int compare_nodes(const MaskNode& a, const MaskNode& b) {
  if (&a == &b) return 0;
  if (a.kind != b.kind) return sign(a.kind <=> b.kind);
  if (a.a != b.a) return sign(a.a <=> b.a);
  if (a.b != b.b) return sign(a.b <=> b.b);
  if (a.name != b.name) return a.name < b.name ? -1 : 1;
  if (a.predicate != b.predicate) return std::less<>{}(a.predicate, b.predicate) ? -1 : 1;
  if (a.bits != b.bits && *a.bits != *b.bits) return *a.bits < *b.bits ? -1 : 1;
  if (a.operands.size() != b.operands.size()) {
    return sign(a.operands.size() <=> b.operands.size());
  }
  for (size_t i = 0; i < a.operands.size(); ++i) {
    const int order = compare_nodes(*a.operands[i], *b.operands[i]);
    if (order != 0) return order;
  }
  return 0;
}

bool node_sees(const MaskNode& node, const Token& q, const Token& k) {
  const int64_t distance = int64_t{q.index} - k.index;
  switch (node.kind) {
    case MaskKind::kNone:
      return false;
    case MaskKind::kFull:
      return true;
    case MaskKind::kCausal:
      return k.index <= q.index;
    case MaskKind::kDocument:
      return q.document == k.document;
    case MaskKind::kSlidingWindow:
      return -node.b <= distance && distance < node.a;
    case MaskKind::kChunk:
      return q.index / node.a == k.index / node.a;
    case MaskKind::kPrefix:
      return k.index < node.a;
    case MaskKind::kSink:
      return q.document == k.document && k.offset < node.a;
    case MaskKind::kDilated:
      return distance % node.a == 0;
    case MaskKind::kDense:
      return dense_sees(node, q, k);
    case MaskKind::kPredicate:
      return predicate_sees(node, q, k);
    case MaskKind::kNot:
      return !node_sees(*node.operands[0], q, k);
    case MaskKind::kAnd:
      return std::all_of(node.operands.begin(), node.operands.end(),
                         [&](const MaskPointer& operand) { return node_sees(*operand, q, k); });
    case MaskKind::kOr:
      return std::any_of(node.operands.begin(), node.operands.end(),
                         [&](const MaskPointer& operand) { return node_sees(*operand, q, k); });
  }
  COEUS_ASSERT(false);
}

AttributeUse attributes_used(const MaskNode& node) {
  AttributeUse use;
  switch (node.kind) {
    case MaskKind::kNone:
    case MaskKind::kFull:
      break;
    case MaskKind::kCausal:
    case MaskKind::kSlidingWindow:
    case MaskKind::kChunk:
    case MaskKind::kPrefix:
    case MaskKind::kDilated:
    case MaskKind::kDense:
      use.index = true;
      break;
    case MaskKind::kDocument:
      use.document = true;
      break;
    case MaskKind::kSink:
      use.document = use.offset = true;
      break;
    case MaskKind::kPredicate:
      use.index = use.document = use.offset = use.extra = true;
      break;
    case MaskKind::kNot:
    case MaskKind::kAnd:
    case MaskKind::kOr:
      for (const auto& operand : node.operands) {
        const AttributeUse inner = attributes_used(*operand);
        use.index |= inner.index;
        use.document |= inner.document;
        use.offset |= inner.offset;
        use.extra |= inner.extra;
      }
  }
  return use;
}

std::string_view leaf_name(MaskKind kind) {
  switch (kind) {
    case MaskKind::kFull:
      return "full";
    case MaskKind::kCausal:
      return "causal";
    case MaskKind::kDocument:
      return "document";
    case MaskKind::kSlidingWindow:
      return "sliding_window";
    case MaskKind::kChunk:
      return "chunk";
    case MaskKind::kPrefix:
      return "prefix";
    case MaskKind::kSink:
      return "sink";
    case MaskKind::kDilated:
      return "dilated";
    case MaskKind::kDense:
      return "dense";
    case MaskKind::kPredicate:
      return "predicate";
    default:
      return "";
  }
}

}  // namespace coeus
