#include "coeus/train/context_plan_log.h"

#include <fmt/format.h>

#include <vector>

#include "coeus/parallel/context/plan/draw_plan.h"

namespace coeus {

namespace {

/// The bytes of all that a mask brings along: its rows and those that its method computes by.
int64_t bytes_with_shards(const BlockMask& mask) {
  int64_t bytes = mask.bytes();
  if (!mask.is_sharded()) return bytes;
  for (int64_t row = 0; row < mask.batch_size(); ++row) {
    const ContextShard& shard = *mask.shard(row);
    for (const auto& piece : shard.pieces) bytes += piece->bytes();
    for (const auto* lists : {&shard.places, &shard.sent, &shard.received})
      for (const auto& list : *lists) bytes += static_cast<int64_t>(list.size() * sizeof(int32_t));
  }
  return bytes;
}

}  // namespace

std::string context_plan_text(const ContextRowPlanner& planner, const Batch& batch) {
  // The keys are those of whole rows, in row order.
  std::vector<SequenceLayout> whole;
  for (const SequenceLayout& layout : batch.layouts) whole.emplace_back(layout.key(), layout.key());
  const ContextRows rows = planner.plan(whole);
  PlanReport report = {
      .balancer = planner.options().balancer, .costs = {}, .model = planner.options().cost};
  for (const LayersMask& mask : rows.rows[0].masks)
    report.costs.push_back(rows.methods.at(mask.name));
  std::string text = fmt::format("how the first batch's rows are dealt to the ranks of cp:\n{}",
                                 plan_text(rows.rows, rows.plans, report));
  while (text.ends_with('\n')) text.pop_back();
  text += fmt::format("\nthis rank holds {} bytes of positions", 4 * batch.positions.size());
  for (const auto& [name, mask] : batch.masks)
    text += fmt::format(", {} of mask \"{}\"", bytes_with_shards(mask), name);
  return text;
}

}  // namespace coeus
