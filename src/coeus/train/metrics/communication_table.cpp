#include "coeus/train/metrics/communication_table.h"

#include <fmt/format.h>

#include <algorithm>

namespace coeus {

std::string communication_table(const CollectiveLog& log, int64_t steps) {
  const auto volume = log.volume();
  if (volume.empty()) return "";
  const auto n = static_cast<double>(std::max<int64_t>(steps, 1));
  std::string table = "communication a step:\n";
  table += fmt::format("  {:<16} {:<18} {:>8} {:>12} {:>12}", "kind", "group", "calls", "MiB",
                       "blocked ms");
  for (const auto& [name, of] : volume)
    table +=
        fmt::format("\n  {:<16} {:<18} {:>8.1f} {:>12.3f} {:>12.2f}", name.first, name.second,
                    static_cast<double>(of.calls) / n,
                    static_cast<double>(of.bytes) / n / (1 << 20), of.waited_seconds * 1e3 / n);
  return table;
}

}  // namespace coeus
