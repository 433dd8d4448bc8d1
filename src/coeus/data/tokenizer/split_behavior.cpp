#include "coeus/data/tokenizer/split_behavior.h"

#include <fmt/format.h>

namespace coeus {

SplitBehavior read_split_behavior(const JsonNode& node) {
  const std::string name = node.text();
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  node.fail(
      fmt::format("'{}' is not a behaviour (Isolated, Removed, MergedWithPrevious, "
                  "MergedWithNext, Contiguous)",
                  name));
}

}  // namespace coeus
