// Ranges of time that a trace shows beside what LibTorch's profiler records.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace coeus {

/// A range of a trace.
struct TraceRange {
  std::string row;  ///< under which it is drawn: "layers", "exchanges over dp_shard"
  std::string name;
  std::int64_t begin_ns = 0;  ///< since 1970
  std::int64_t end_ns = 0;
  std::int64_t bytes = 0;  ///< that were moved; 0: not told
};

/// Ranges that any thread of the process adds while the log is on. LibTorch's profiler has them on
/// the thread that does a thing, one within the other; exchanges, which go on beside the thread
/// that started them, and the backward pass of a layer, which nobody calls, are kept here.
class TraceLog {
 public:
  /// Costs no more than a look at a flag.
  static bool is_on();
  /// Forgets what was added earlier.
  static void start();
  /// What was added since the start, in the order of its end.
  static std::vector<TraceRange> stop();
  /// Does nothing while off.
  static void add(TraceRange range);
  static std::int64_t now_ns();
};

}  // namespace coeus
