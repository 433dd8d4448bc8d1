// Schedules of one's own, in PyTorch's form.
#pragma once

#include <filesystem>
#include <string>

#include "coeus/parallel/pipeline/schedule.h"

namespace coeus {

/// Reads a schedule of text: a line a rank, actions "2F0" (stage, F, B, I or W, micro-batch) with
/// commas between; an empty cell is a pause and means nothing, for a rank waits where it must.
/// There are as many stages and micro-batches as the actions name. `name` stands in messages.
/// Throws ConfigError with line and column for what cannot be read or executed.
PipelineSchedule schedule_from_csv(const std::string& text, const std::string& name);

/// The same from a file. Throws ConfigError for one that cannot be read.
PipelineSchedule read_schedule_csv(const std::filesystem::path& path);

/// The schedule in that form, with a pause where a rank waits when all actions take the same time.
std::string csv_of_schedule(const PipelineSchedule& schedule);

}  // namespace coeus
