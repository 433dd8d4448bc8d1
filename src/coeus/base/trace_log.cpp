#include "coeus/base/trace_log.h"

#include <atomic>
#include <chrono>
#include <mutex>
#include <utility>

namespace coeus {

namespace {

std::atomic<bool> on = false;
std::mutex mutex;

std::vector<TraceRange>& ranges() {
  // Never destroyed: threads that outlive main may add.
  static auto* const all = new std::vector<TraceRange>();
  return *all;
}

}  // namespace

bool TraceLog::is_on() { return on.load(std::memory_order_relaxed); }

void TraceLog::start() {
  const std::lock_guard lock(mutex);
  ranges().clear();
  on = true;
}

std::vector<TraceRange> TraceLog::stop() {
  const std::lock_guard lock(mutex);
  on = false;
  return std::exchange(ranges(), {});
}

void TraceLog::add(TraceRange range) {
  const std::lock_guard lock(mutex);
  if (on) ranges().push_back(std::move(range));
}

std::int64_t TraceLog::now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace coeus
