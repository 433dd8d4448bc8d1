#include "coeus/train/attention_log.h"

#include <fmt/format.h>

#include <algorithm>

#include "coeus/mask/context_shard.h"
#include "coeus/mask/draw.h"

namespace coeus {

namespace {

/// "row 0", "rows 2 to 4".
std::string rows_name(int64_t begin, int64_t end) {
  return end - begin == 1 ? fmt::format("row {}", begin)
                          : fmt::format("rows {} to {}", begin, end - 1);
}

/// Whether a layer was called with the mask's row, or with one that context parallelism computes by
/// in its place.
bool is_of_row(const AttentionLayerReport& layer, const BlockMask& mask, int64_t row) {
  if (mask.shared_row(row) == layer.first_mask_row) return true;
  if (!mask.is_sharded()) return false;
  const auto& pieces = mask.shard(row)->pieces;
  return std::find(pieces.begin(), pieces.end(), layer.first_mask_row) != pieces.end();
}

/// The name of the mask that a layer was first called with; "" when it is none of `masks`.
std::string mask_name(const AttentionLayerReport& layer, const AttentionMasks& masks) {
  for (const auto& [name, mask] : masks)
    for (int64_t row = 0; row < mask.batch_size(); ++row)
      if (is_of_row(layer, mask, row)) return name;
  return "";
}

}  // namespace

std::string masks_text(const AttentionMasks& masks) {
  std::string text = "masks of the first batch:";
  for (const auto& [name, mask] : masks) {
    const TileCounts tiles = mask.tile_counts();
    text += fmt::format(
        "\nmask \"{}\": {} rows of {} queries and {} keys, {} pairs visible, {:.2f}% hidden; tiles "
        "of {} x {}: {} full, {} partial, {} empty; {} bytes\n",
        name, mask.batch_size(), mask.query_length(), mask.key_length(), mask.area(),
        100 * mask.sparsity(), mask.tile_q(), mask.tile_k(), tiles.full, tiles.partial, tiles.empty,
        mask.bytes());
    for (int64_t row = 0; row < mask.batch_size();) {
      int64_t end = row + 1;
      while (end < mask.batch_size() && mask.shared_row(end) == mask.shared_row(row)) ++end;
      text += fmt::format("{}:\n{}", rows_name(row, end), draw_for_terminal(mask.row(row)));
      row = end;
    }
    text.pop_back();
  }
  return text;
}

std::vector<std::string> engine_lines(const std::vector<AttentionLayerReport>& layers,
                                      const AttentionMasks& masks) {
  struct Group {
    std::string head;
    std::string reason;
    std::vector<std::string> layers;
  };
  std::vector<Group> groups;
  for (const AttentionLayerReport& layer : layers) {
    const std::string mask = mask_name(layer, masks);
    const std::string head =
        fmt::format("attention under {}: {}", mask.empty() ? "a mask" : "mask \"" + mask + "\"",
                    name_of(layer.choice.engine));
    auto group = std::find_if(groups.begin(), groups.end(), [&](const Group& known) {
      return known.head == head && known.reason == layer.choice.reason;
    });
    if (group == groups.end()) {
      groups.push_back({head, layer.choice.reason, {}});
      group = groups.end() - 1;
    }
    group->layers.push_back(layer.layer);
  }
  std::vector<std::string> lines;
  for (const Group& group : groups) {
    const size_t count = group.layers.size();
    lines.push_back(fmt::format("{} in {}{}; {}", group.head, group.layers.front(),
                                count == 1 ? "" : fmt::format(" and {} more layers", count - 1),
                                group.reason));
  }
  return lines;
}

std::string attention_check_table(const std::vector<AttentionLayerReport>& layers) {
  size_t width = 5;
  for (const AttentionLayerReport& layer : layers) width = std::max(width, layer.layer.size());
  std::string table = fmt::format(
      "attention against the reference, worst differences (as shares of the largest value):\n"
      "  {:<{}}  {:<12}  {:>9}  {:>9}  {:>9}  {:>9}  {:>7}",
      "layer", width, "engine", "output", "grad q", "grad k", "grad v", "checks");
  for (const AttentionLayerReport& layer : layers)
    table += fmt::format("\n  {:<{}}  {:<12}  {:>9.2e}  {:>9.2e}  {:>9.2e}  {:>9.2e}  {:>7}",
                         layer.layer, width, name_of(layer.choice.engine), layer.worst.output,
                         layer.worst.grad_q, layer.worst.grad_k, layer.worst.grad_v,
                         layer.forward_checks);
  return table;
}

Scalars attention_check_metrics(const AttentionDifference& worst) {
  return {{"attention_check/output", worst.output},
          {"attention_check/grad_q", worst.grad_q},
          {"attention_check/grad_k", worst.grad_k},
          {"attention_check/grad_v", worst.grad_v}};
}

}  // namespace coeus
