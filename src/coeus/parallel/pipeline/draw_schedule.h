// Pictures of schedules: for a terminal and a page.
#pragma once

#include <string>

#include "coeus/parallel/pipeline/simulate.h"

namespace coeus {

/// What a picture says of a schedule in one line: its name, sizes and bubble.
std::string schedule_title(const PipelineSchedule& schedule, const ActionTimes& times = {});

/// A line a rank and a column a unit of time, each with its action ("2F0"; `--` while it goes on,
/// `.` where the rank waits), below the title.
std::string draw_schedule_text(const PipelineSchedule& schedule, const ActionTimes& times = {});

/// An SVG page: a row a rank, with forward passes, whole backward passes and their two parts in
/// colours, later stages of a rank in stronger ones, each block with its micro-batch's number.
std::string draw_schedule_svg(const PipelineSchedule& schedule, const ActionTimes& times = {});

}  // namespace coeus
