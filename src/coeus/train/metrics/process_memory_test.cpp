#include "coeus/train/metrics/process_memory.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "coeus/base/temporary_folder.h"

namespace coeus {
namespace {

constexpr double kMiB = 1 << 20;

/// /proc and /sys of a machine with 16 GB in a folder.
class FakeSystem {
 public:
  FakeSystem() { put("proc/meminfo", "MemFree: 1 kB\nMemTotal:       16000000 kB\n"); }
  void put(const std::string& path, const std::string& text) {
    std::filesystem::create_directories((folder_ / path).parent_path());
    folder_.write(path, text);
  }
  double capacity() const { return memory_capacity_bytes(folder_.path()); }

 private:
  TemporaryFolder folder_;
};

TEST(MemoryCapacity, IsTheMachinesWithoutLimits) {
  FakeSystem system;
  EXPECT_EQ(system.capacity(), 16000000 * 1024.0);
  system.put("proc/self/cgroup", "0::/user\n");
  system.put("sys/fs/cgroup/user/memory.max", "max\n");
  EXPECT_EQ(system.capacity(), 16000000 * 1024.0);
}

TEST(MemoryCapacity, IsTheLeastLimitOfTheGroupsAboveTheProcess) {
  FakeSystem system;
  system.put("proc/self/cgroup", "0::/a/b\n");
  system.put("sys/fs/cgroup/a/b/memory.max", "max\n");
  system.put("sys/fs/cgroup/a/memory.max", "1000000\n");
  EXPECT_EQ(system.capacity(), 1000000);
}

TEST(MemoryCapacity, KnowsControlGroupsOfVersionOne) {
  FakeSystem system;
  system.put("proc/self/cgroup", "5:cpu,cpuacct:/a\n4:memory:/a\n0::/\n");
  system.put("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "2000000\n");
  EXPECT_EQ(system.capacity(), 2000000);
}

TEST(MemoryCapacity, TakesTheHierarchysRootWhereAContainerHidesThePath) {
  FakeSystem system;
  system.put("proc/self/cgroup", "0::/docker/0123\n");
  system.put("sys/fs/cgroup/memory.max", "3000000\n");
  EXPECT_EQ(system.capacity(), 3000000);
}

TEST(MemoryCapacity, IsTheMachinesWhereALimitIsBeyondIt) {
  FakeSystem system;
  system.put("proc/self/cgroup", "4:memory:/\n");
  system.put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(system.capacity(), 16000000 * 1024.0);
}

TEST(MemoryCapacity, IsZeroWhereNothingCanBeRead) {
  TemporaryFolder folder;
  EXPECT_EQ(memory_capacity_bytes(folder.path()), 0);
}

TEST(ProcessMemory, PeaksWithWhatWasHeldAndReset) {
  ProcessMemoryMonitor monitor;
  monitor.reset_peak();
  const double before = monitor.peak().active_bytes;
  ASSERT_GT(before, 0);
  constexpr size_t kBytes = 64 << 20;
  void* held = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(held, MAP_FAILED);
  std::memset(held, 1, kBytes);
  const MemoryPeak during = monitor.peak();
  EXPECT_GT(during.active_bytes, before + 60 * kMiB);
  EXPECT_EQ(during.reserved_bytes, during.active_bytes);
  EXPECT_GT(during.capacity_bytes, during.active_bytes);
  munmap(held, kBytes);
  EXPECT_GT(monitor.peak().active_bytes, before + 60 * kMiB) << "a peak stays";
  monitor.reset_peak();
  if (access("/proc/self/clear_refs", W_OK) != 0) GTEST_SKIP() << "no reset here";
  EXPECT_LT(monitor.peak().active_bytes, before + 30 * kMiB);
}

}  // namespace
}  // namespace coeus
