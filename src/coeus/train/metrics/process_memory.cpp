#include "coeus/train/metrics/process_memory.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

namespace coeus {

namespace {

namespace fs = std::filesystem;

/// The number of kB after `key` in a file like /proc/meminfo, in bytes; 0 if it is not there.
double bytes_of_key(const fs::path& path, std::string_view key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key)) continue;
    size_t digits = line.find_first_of("0123456789", key.size());
    int64_t kib = 0;
    if (digits != std::string::npos)
      std::from_chars(line.data() + digits, line.data() + line.size(), kib);
    return 1024.0 * static_cast<double>(kib);
  }
  return 0;
}

/// A limit file holds a number of bytes, or "max" for none.
double limit_in(const fs::path& path) {
  std::ifstream file(path);
  int64_t bytes = 0;
  return file >> bytes ? static_cast<double>(bytes) : 0;
}

/// The limits on the way from this process's group up to the root of its hierarchy.
std::vector<double> group_limits(const fs::path& root) {
  std::vector<double> limits;
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // number:controllers:/path
    size_t first = line.find(':');
    size_t second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = fmt::format(",{},", line.substr(first + 1, second - first - 1));
    bool is_v2 = controllers == ",,";
    if (!is_v2 && controllers.find(",memory,") == std::string::npos) continue;
    fs::path hierarchy = root / (is_v2 ? "sys/fs/cgroup" : "sys/fs/cgroup/memory");
    const char* file = is_v2 ? "memory.max" : "memory.limit_in_bytes";
    fs::path group = fs::path(line.substr(second + 1)).relative_path();
    // In a container the path may be the host's, and its own group the root of what it sees.
    limits.push_back(limit_in(hierarchy / file));
    for (; !group.empty(); group = group.parent_path())
      limits.push_back(limit_in(hierarchy / group / file));
  }
  return limits;
}

}  // namespace

double memory_capacity_bytes(const fs::path& root) {
  double capacity = bytes_of_key(root / "proc/meminfo", "MemTotal:");
  for (double limit : group_limits(root))
    if (limit > 0) capacity = capacity > 0 ? std::min(capacity, limit) : limit;
  return capacity;
}

ProcessMemoryMonitor::ProcessMemoryMonitor() : capacity_bytes_(memory_capacity_bytes()) {}

MemoryPeak ProcessMemoryMonitor::peak() {
  double bytes = bytes_of_key("/proc/self/status", "VmHWM:");
  if (bytes == 0) {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    bytes = 1024.0 * static_cast<double>(usage.ru_maxrss);
  }
  return {.active_bytes = bytes, .reserved_bytes = bytes, .capacity_bytes = capacity_bytes_};
}

void ProcessMemoryMonitor::reset_peak() {
  // 5 resets the high-water mark (man 5 proc). Where it is forbidden the peak just stays.
  std::ofstream("/proc/self/clear_refs") << "5";
}

}  // namespace coeus
