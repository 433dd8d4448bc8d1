// Chrome traces: what LibTorch's profiler writes, and ranges of our own beside it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "coeus/base/trace_log.h"

namespace coeus {

/// Writes a Chrome trace (JSON, for Perfetto or chrome://tracing): that which `save_profile` writes
/// to the path that it is given, as LibTorch's ProfilerResult::save does, with `ranges` as further
/// rows under a heading of their own. Makes folders; the file appears whole or not at all. Throws
/// Error when it cannot be written.
void write_trace(const std::filesystem::path& file, std::int64_t rank,
                 std::vector<TraceRange> ranges,
                 const std::function<void(const std::string& path)>& save_profile);

/// Rows in which no two ranges overlap unless one holds the other, as viewers want them: ranges of
/// one row that overlap otherwise go to further ones. Returns the place of each among the rows of
/// its name, from 0. `ranges`: those of one row, in the order of their begin.
std::vector<int> lanes_of(const std::vector<TraceRange>& ranges);

}  // namespace coeus
