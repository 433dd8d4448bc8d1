#include "coeus/train/metrics/progress_bar.h"

#include <gmock/gmock.h>
#include <poll.h>
#include <pty.h>
#include <unistd.h>

#include <cstdlib>

#include "coeus/base/log.h"

namespace coeus {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

const Progress kHalfway{.step = 50,
                        .total_steps = 100,
                        .loss = 5.12345,
                        .tokens_per_second = 12345.6,
                        .seconds_left = 83};

TEST(ProgressLine, ShowsStepsBarLossSpeedAndTimeLeft) {
  EXPECT_EQ(progress_line(kHalfway, 80),
            "step 50/100 [============>          ]  50%  loss 5.1235  12,346 tok/s  left 1:23");
}

TEST(ProgressLine, FitsAnyWidth) {
  EXPECT_EQ(progress_line(kHalfway, 60), "step 50/100  50%  loss 5.1235  12,346 tok/s  left 1:23");
  EXPECT_EQ(progress_line(kHalfway, 20), "step 50/100  50%  lo");
  for (int columns = 0; columns <= 200; ++columns)
    EXPECT_LE(progress_line(kHalfway, columns).size(), static_cast<size_t>(columns));
  EXPECT_EQ(progress_line(kHalfway, 300), progress_line(kHalfway, 200)) << "the bar has an end";
}

TEST(ProgressLine, LeavesOutWhatIsNotKnownYet) {
  EXPECT_EQ(progress_line({.step = 0, .total_steps = 10}, 30), "step 0/10 [>            ]   0%");
}

TEST(ProgressLine, IsFullOnlyAtTheEnd) {
  EXPECT_THAT(progress_line({.step = 9999, .total_steps = 10000}, 30), EndsWith(" 99%"));
  EXPECT_THAT(progress_line({.step = 10, .total_steps = 10}, 30), EndsWith(" [============] 100%"));
}

TEST(DurationText, HasHoursOnlyWhereNeeded) {
  EXPECT_EQ(duration_text(7.4), "0:07");
  EXPECT_EQ(duration_text(59.6), "1:00");
  EXPECT_EQ(duration_text(3599), "59:59");
  EXPECT_EQ(duration_text(3723), "1:02:03");
  EXPECT_EQ(duration_text(-5), "0:00");
}

TEST(ProgressBar, LeavesTheFirstStepOutOfItsRates) {
  double time = 0;
  ProgressBar bar(0, 10, [&] { return time; });
  time = 5;  // the first step takes its time
  bar.update(1, 100, 8.0);
  EXPECT_DOUBLE_EQ(*bar.progress().tokens_per_second, 20);
  time = 6;
  bar.update(2, 200, 7.0);
  EXPECT_DOUBLE_EQ(*bar.progress().tokens_per_second, 100);
  EXPECT_DOUBLE_EQ(*bar.progress().seconds_left, 8);
}

TEST(ProgressBar, FollowsTheSpeedOfTheLatestHundredSteps) {
  double time = 0;
  ProgressBar bar(0, 1000, [&] { return time; });
  int64_t step = 0;
  for (; step < 300; ++step, time += 1) bar.update(step + 1, (step + 1) * 10, std::nullopt);
  for (; step < 500; ++step, time += 2) bar.update(step + 1, (step + 1) * 10, std::nullopt);
  EXPECT_DOUBLE_EQ(*bar.progress().tokens_per_second, 5);
  EXPECT_DOUBLE_EQ(*bar.progress().seconds_left, 1000);
}

TEST(ProgressBar, CountsAResumedRunFromWhereItStarts) {
  double time = 0;
  ProgressBar bar(90, 100, [&] { return time; });
  time = 2;
  bar.update(91, 50, 3.0);
  EXPECT_DOUBLE_EQ(*bar.progress().seconds_left, 18);
}

TEST(ProgressBar, KeepsTheLastLossWithoutANewOne) {
  ProgressBar bar(0, 10, [] { return 0.0; });
  bar.update(1, 10, 3.0);
  bar.update(2, 20, std::nullopt);
  EXPECT_EQ(bar.progress().loss, 3.0);
  EXPECT_EQ(bar.progress().seconds_left, std::nullopt) << "no time has passed";
}

TEST(ProgressBar, StaysBelowTheLinesOfATerminalAndGoesAtTheEnd) {
  const int saved = dup(STDERR_FILENO);
  int terminal = -1, device = -1;
  winsize size{.ws_row = 24, .ws_col = 31};
  ASSERT_EQ(openpty(&terminal, &device, nullptr, nullptr, &size), 0);
  dup2(device, STDERR_FILENO);
  close(device);
  setenv("TERM", "xterm", 1);
  setenv("NO_COLOR", "1", 1);
  init_log();
  double time = 0;
  {
    ProgressBar bar(0, 3, [&] { return time; });
    bar.update(1, 10, std::nullopt);
    log_info("hello");
    time = 0.01;
    bar.update(2, 20, std::nullopt);
    bar.update(3, 30, std::nullopt);
  }
  log_info("bye");
  std::string text;
  char buffer[4096];
  for (pollfd waiting{terminal, POLLIN, 0}; poll(&waiting, 1, 0) == 1;) {
    ssize_t n = read(terminal, buffer, sizeof buffer);
    if (n <= 0) break;
    text.append(buffer, n);
  }
  dup2(saved, STDERR_FILENO);
  close(saved);
  close(terminal);
  init_log();
  EXPECT_THAT(text, MatchesRegex("\r.\\[Kstep 1/3 .*"
                                 "\r.\\[K\\[coeus.* - hello\r\nstep 1/3 .*"
                                 "\r.\\[Kstep 3/3 .*"
                                 "\r.\\[K\\[coeus.* - bye\r\n"));
  EXPECT_THAT(text, testing::Not(HasSubstr("step 2/3"))) << "too soon after the last drawing";
}

}  // namespace
}  // namespace coeus
