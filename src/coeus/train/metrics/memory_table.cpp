#include "coeus/train/metrics/memory_table.h"

#include <fmt/format.h>

#include <algorithm>

namespace coeus {

std::string memory_table(const std::vector<MemoryEntry>& entries, const std::string& title) {
  int64_t total = 0;
  size_t width = 5;  // "total"
  for (const MemoryEntry& entry : entries) {
    total += entry.bytes;
    width = std::max(width, entry.purpose.size());
  }
  const bool gib = total >= int64_t{10} << 30;
  const bool kib = total < int64_t{1} << 20;
  const double unit_bytes = gib ? 1 << 30 : kib ? 1 << 10 : 1 << 20;
  const char* unit = gib ? "GiB" : kib ? "KiB" : "MiB";

  std::string table = title + ":";
  auto add_line = [&](const std::string& purpose, int64_t bytes) {
    double share = total > 0 ? 100.0 * static_cast<double>(bytes) / static_cast<double>(total) : 0;
    table += fmt::format("\n  {:<{}}  {:>9.2f} {}  {:>5.1f}%", purpose, width,
                         static_cast<double>(bytes) / unit_bytes, unit, share);
  };
  for (const MemoryEntry& entry : entries) add_line(entry.purpose, entry.bytes);
  add_line("total", total);
  return table;
}

}  // namespace coeus
