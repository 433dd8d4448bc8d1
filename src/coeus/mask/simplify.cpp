#include <algorithm>
#include <utility>

#include "coeus/base/error.h"
#include "coeus/mask/mask_node.h"

namespace coeus {
namespace {

bool leaf_implies(const MaskNode& a, const MaskNode& b) {
  if (compare_nodes(a, b) == 0) return true;
  switch (a.kind) {
    case MaskKind::kSlidingWindow:
      if (b.kind == MaskKind::kCausal) return a.b == 0;
      return b.kind == MaskKind::kSlidingWindow && a.a <= b.a && a.b <= b.b;
    case MaskKind::kChunk:
      if (b.kind == MaskKind::kSlidingWindow) return b.a >= a.a && b.b >= a.a - 1;
      return b.kind == MaskKind::kChunk && b.a % a.a == 0;
    case MaskKind::kPrefix:
      return b.kind == MaskKind::kPrefix && a.a <= b.a;
    case MaskKind::kSink:
      return b.kind == MaskKind::kDocument || (b.kind == MaskKind::kSink && a.a <= b.a);
    case MaskKind::kDilated:
      return b.kind == MaskKind::kDilated && a.a % b.a == 0;
    default:
      return false;
  }
}

/// `implies`, giving up (false) when steps run out: nested operators have more ways to be compared
/// than there is time for.
bool implies_within(const MaskNode& a, const MaskNode& b, int& steps_left) {
  if (a.kind == MaskKind::kNone || b.kind == MaskKind::kFull) return true;
  if (a.is_leaf() && b.is_leaf()) return leaf_implies(a, b);
  if (--steps_left <= 0) return false;
  const auto a_implies = [&](const MaskPointer& inner) {
    return implies_within(a, *inner, steps_left);
  };
  const auto implies_b = [&](const MaskPointer& inner) {
    return implies_within(*inner, b, steps_left);
  };
  if (a.kind == MaskKind::kOr) {
    return std::all_of(a.operands.begin(), a.operands.end(), implies_b);
  }
  if (b.kind == MaskKind::kAnd) {
    return std::all_of(b.operands.begin(), b.operands.end(), a_implies);
  }
  if (a.kind == MaskKind::kNot && b.kind == MaskKind::kNot) {
    return implies_within(*b.operands[0], *a.operands[0], steps_left);
  }
  return (a.kind == MaskKind::kAnd &&
          std::any_of(a.operands.begin(), a.operands.end(), implies_b)) ||
         (b.kind == MaskKind::kOr && std::any_of(b.operands.begin(), b.operands.end(), a_implies));
}

/// Leaves that say less than they seem to.
MaskPointer simplify_leaf(const MaskPointer& node) {
  if (node->kind == MaskKind::kDilated && node->a == 1) return make_leaf(MaskKind::kFull);
  if ((node->kind == MaskKind::kPrefix || node->kind == MaskKind::kSink) && node->a == 0) {
    return make_leaf(MaskKind::kNone);
  }
  return node;
}

/// ~operand with the negation pushed inwards to the leaves, for a simplified operand.
MaskPointer negate(const MaskPointer& operand) {
  switch (operand->kind) {
    case MaskKind::kNone:
      return make_leaf(MaskKind::kFull);
    case MaskKind::kFull:
      return make_leaf(MaskKind::kNone);
    case MaskKind::kNot:
      return operand->operands[0];
    case MaskKind::kAnd:
    case MaskKind::kOr: {
      std::vector<MaskPointer> negated;
      for (const auto& inner : operand->operands) negated.push_back(negate(inner));
      return simplify(make_chain(operand->kind == MaskKind::kAnd ? MaskKind::kOr : MaskKind::kAnd,
                                 std::move(negated)));
    }
    default:
      return make_not(operand);
  }
}

/// Merges what implication alone cannot: windows that overlap, causal with a window.
void merge_windows(std::vector<MaskPointer>& operands) {
  MaskPointer window;
  bool causal = false;
  for (const auto& operand : operands) {
    causal |= operand->kind == MaskKind::kCausal;
    if (operand->kind != MaskKind::kSlidingWindow) continue;
    window = window == nullptr
                 ? operand
                 : make_leaf(MaskKind::kSlidingWindow, std::min(window->a, operand->a),
                             std::min(window->b, operand->b));
  }
  if (window == nullptr) return;
  if (causal) window = make_leaf(MaskKind::kSlidingWindow, window->a, 0);
  std::erase_if(operands, [](const MaskPointer& operand) {
    return operand->kind == MaskKind::kSlidingWindow;
  });
  operands.push_back(window);
}

/// Chains longer than this only lose operands that are equal: comparing all pairs takes too long.
constexpr size_t kLongestCompared = 64;

void drop_equal(std::vector<MaskPointer>& operands) {
  std::stable_sort(operands.begin(), operands.end(),
                   [](const auto& a, const auto& b) { return compare_nodes(*a, *b) < 0; });
  operands.erase(
      std::unique(operands.begin(), operands.end(),
                  [](const auto& a, const auto& b) { return compare_nodes(*a, *b) == 0; }),
      operands.end());
}

/// An operand of & that another implies says nothing; of |, one that implies another does not.
/// Each is held against those still there, so of equal ones the first stays.
void drop_implied(MaskKind kind, std::vector<MaskPointer>& operands) {
  for (size_t i = operands.size(); i-- > 0;) {
    for (size_t j = 0; j < operands.size(); ++j) {
      if (i == j) continue;
      const MaskNode& stronger = kind == MaskKind::kAnd ? *operands[j] : *operands[i];
      const MaskNode& weaker = kind == MaskKind::kAnd ? *operands[i] : *operands[j];
      if (implies(stronger, weaker)) {
        operands.erase(operands.begin() + i);
        break;
      }
    }
  }
}

/// Whether two operands of & exclude each other, or two of | leave nothing out.
bool is_settled(MaskKind kind, const std::vector<MaskPointer>& operands) {
  for (size_t i = 0; i < operands.size(); ++i) {
    const MaskPointer negated =
        operands[i]->kind == MaskKind::kNot ? operands[i]->operands[0] : make_not(operands[i]);
    for (size_t j = 0; j < operands.size(); ++j) {
      if (i == j) continue;
      if (kind == MaskKind::kAnd ? implies(*operands[j], *negated)
                                 : implies(*negated, *operands[j])) {
        return true;
      }
    }
  }
  return false;
}

}  // namespace

bool implies(const MaskNode& a, const MaskNode& b) {
  int steps_left = 2000;
  return implies_within(a, b, steps_left);
}

MaskPointer simplify(const MaskPointer& node) {
  if (node->is_leaf()) return simplify_leaf(node);
  if (node->kind == MaskKind::kNot) return negate(simplify(node->operands[0]));

  std::vector<MaskPointer> operands;
  for (const auto& operand : node->operands) {
    const MaskPointer simple = simplify(operand);
    if (simple->kind == node->kind) {
      operands.insert(operands.end(), simple->operands.begin(), simple->operands.end());
    } else {
      operands.push_back(simple);
    }
  }
  if (node->kind == MaskKind::kAnd) merge_windows(operands);
  drop_equal(operands);
  if (operands.size() <= kLongestCompared) {
    drop_implied(node->kind, operands);
    if (is_settled(node->kind, operands)) {
      return make_leaf(node->kind == MaskKind::kAnd ? MaskKind::kNone : MaskKind::kFull);
    }
  }
  return make_chain(node->kind, std::move(operands));
}

}  // namespace coeus
