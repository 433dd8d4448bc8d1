#include "coeus/mask/mask_sets.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "coeus/base/error.h"

namespace coeus {
namespace {

/// Documents whose keys lie in more runs than this are left to their elements: sets would cost
/// more.
constexpr size_t kMostRunsOfADocument = 32;

void check_dense_size(const MaskNode& node, const SequenceLayout& layout) {
  const auto check = [&](const std::vector<int32_t>& index, int64_t size, std::string_view whose) {
    if (index.empty()) return;
    const int32_t largest = *std::max_element(index.begin(), index.end());
    COEUS_CHECK(largest < size,
                "[lower] the bits of dense({} x {}) end before {} token {}; give a bit for every "
                "pair of indices",
                node.a, node.b, whose, largest);
  };
  check(layout.query()->index, node.a, "query");
  check(layout.key()->index, node.b, "key");
}

}  // namespace

struct MaskSets::Step {
  const MaskNode* node = nullptr;
  std::vector<std::unique_ptr<Step>> operands;
  std::unique_ptr<DocumentRuns> runs;
  size_t run_hint = 0;
  bool is_closed = true;
  RankSets result;
  RankSets scratch;
};

MaskSets::MaskSets(const MaskNode& mask, const SequenceLayout& layout, const KeyOrder& order)
    : layout_(layout), order_(order), root_(make_step(mask)) {
  is_closed_ = root_->is_closed;
}

std::unique_ptr<MaskSets::Step> MaskSets::make_step(const MaskNode& node) {
  auto step = std::make_unique<Step>();
  step->node = &node;
  for (const auto& operand : node.operands) {
    step->operands.push_back(make_step(*operand));
    step->is_closed &= step->operands.back()->is_closed;
  }
  switch (node.kind) {
    case MaskKind::kDocument:
    case MaskKind::kSink: {
      const int64_t limit =
          node.kind == MaskKind::kSink ? node.a : std::numeric_limits<int64_t>::max();
      step->runs = std::make_unique<DocumentRuns>(*layout_.key(), order_, limit);
      step->is_closed = step->runs->most_runs() <= kMostRunsOfADocument;
      break;
    }
    case MaskKind::kDense:
      check_dense_size(node, layout_);
      [[fallthrough]];
    case MaskKind::kDilated:
    case MaskKind::kPredicate:
      step->is_closed = false;
      break;
    default:
      break;
  }
  return step;
}

RankSets& MaskSets::evaluate(int64_t begin, int64_t end, Bound bound) {
  evaluate(*root_, begin, end, bound);
  return root_->result;
}

void MaskSets::evaluate(Step& step, int64_t begin, int64_t end, Bound bound) {
  switch (step.node->kind) {
    case MaskKind::kNot:
      evaluate(*step.operands[0], begin, end,
               bound == Bound::kCertain ? Bound::kPossible : Bound::kCertain);
      complement(step.operands[0]->result, order_.size(), step.result);
      return;
    case MaskKind::kAnd:
    case MaskKind::kOr:
      for (auto& operand : step.operands) {
        evaluate(*operand, begin, end, bound);
        if (operand == step.operands.front()) {
          std::swap(step.result, operand->result);
        } else if (step.node->kind == MaskKind::kAnd) {
          intersect(step.result, operand->result, step.scratch);
          std::swap(step.result, step.scratch);
        } else {
          unite(step.result, operand->result, step.scratch);
          std::swap(step.result, step.scratch);
        }
      }
      return;
    default:
      evaluate_leaf(step, std::span(layout_.query()->index).subspan(begin, end - begin),
                    std::span(layout_.query()->document).subspan(begin, end - begin), bound);
  }
}

void MaskSets::evaluate_leaf(Step& step, std::span<const int32_t> indices,
                             std::span<const int32_t> documents, Bound bound) {
  const MaskNode& node = *step.node;
  RankSets& out = step.result;
  const auto queries = static_cast<int64_t>(indices.size());
  if (!step.is_closed) {
    out.fill(queries, 0, bound == Bound::kPossible ? order_.size() : 0);
    return;
  }
  switch (node.kind) {
    case MaskKind::kNone:
      out.fill(queries, 0, 0);
      return;
    case MaskKind::kFull:
      out.fill(queries, 0, order_.size());
      return;
    case MaskKind::kPrefix:
      out.fill(queries, 0, order_.first_at_least(node.a, 0));
      return;
    case MaskKind::kCausal:
      out.resize(queries, 1);
      std::fill_n(out.begin(0), queries, 0);
      order_.first_at_least(indices, 1, out.end(0));
      return;
    case MaskKind::kSlidingWindow:
      out.resize(queries, 1);
      order_.first_at_least(indices, 1 - node.a, out.begin(0));
      order_.first_at_least(indices, 1 + node.b, out.end(0));
      return;
    case MaskKind::kChunk: {
      out.resize(queries, 1);
      int64_t chunk_begin = -node.a;
      RankRange range;
      for (int64_t i = 0; i < queries; ++i) {
        if (indices[i] < chunk_begin || indices[i] >= chunk_begin + node.a) {
          chunk_begin = indices[i] / node.a * node.a;
          range.begin = order_.first_at_least(chunk_begin, range.begin);
          range.end = order_.first_at_least(chunk_begin + node.a, range.begin);
        }
        out.begin(0)[i] = range.begin;
        out.end(0)[i] = range.end;
      }
      return;
    }
    case MaskKind::kDocument:
    case MaskKind::kSink: {
      const int slots = std::max(1, static_cast<int>(step.runs->most_runs()));
      out.resize(queries, slots);
      for (int64_t i = 0; i < queries; ++i) {
        const auto runs = step.runs->of(documents[i], step.run_hint);
        for (int slot = 0; slot < slots; ++slot) {
          const bool is_used = slot < static_cast<int>(runs.size());
          out.begin(slot)[i] = is_used ? runs[slot].begin : 0;
          out.end(slot)[i] = is_used ? runs[slot].end : 0;
        }
      }
      if (slots > 1) out.compact();
      return;
    }
    default:
      COEUS_ASSERT(false);
  }
}

}  // namespace coeus
