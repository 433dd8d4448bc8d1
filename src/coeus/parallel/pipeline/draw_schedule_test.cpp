#include "coeus/parallel/pipeline/draw_schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coeus/parallel/pipeline/make_schedule.h"

namespace coeus {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(DrawSchedule, TextHasARowARankAndAColumnATimeSlot) {
  EXPECT_EQ(draw_schedule_text(make_schedule("1F1B", 2, 1, 2)),
            "1F1B: 2 ranks, 2 stages, 2 micro-batches, bubble 33.3 %\n"
            "rank 0   0F0 0F1 .   .   0B0---- .   0B1----\n"
            "rank 1   .   1F0 1B0---- 1F1 1B1---- .   .\n");
}

TEST(DrawSchedule, SvgHasABlockForEveryActionAndTheBubbleInItsTitle) {
  const PipelineSchedule schedule = make_schedule("ZBVZeroBubble", 2, 2, 3);
  const std::string svg = draw_schedule_svg(schedule);
  EXPECT_THAT(svg, HasSubstr("ZBVZeroBubble: 2 ranks, 4 stages, 3 micro-batches, bubble 5.3 %"));
  size_t blocks = 0;
  for (size_t at = svg.find("<rect"); at != std::string::npos; at = svg.find("<rect", at + 1))
    ++blocks;
  // The page, two rows, three colours explained, and F, I, W of 4 stages and 3 micro-batches.
  EXPECT_EQ(blocks, 1U + 2U + 3U + 36U);
  EXPECT_THAT(svg, HasSubstr("weight gradient"));
  EXPECT_THAT(draw_schedule_svg(make_schedule("GPipe", 2, 1, 3)),
              Not(HasSubstr("weight gradient")));
}

TEST(DrawSchedule, ALongScheduleStaysOnThePage) {
  const std::string svg = draw_schedule_svg(make_schedule("1F1B", 4, 1, 200));
  EXPECT_THAT(svg, HasSubstr("width='1194'"));
}

}  // namespace
}  // namespace coeus
