// Where a step's memory went.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace coeus {

/// Bytes that one purpose held: "parameters", "gradients", "optimizer", "activations at their
/// peak".
struct MemoryEntry {
  std::string purpose;
  int64_t bytes = 0;
};

/// A table for people: `title`, then a line an entry with its size and share of all, then the
/// total. All sizes stand in one unit (KiB, MiB or GiB, by the total). The last line has no
/// newline.
std::string memory_table(const std::vector<MemoryEntry>& entries,
                         const std::string& title = "where memory went in step 1");

}  // namespace coeus
