#include "coeus/train/metrics/log_line.h"

#include <gtest/gtest.h>

#include <cmath>

namespace coeus {
namespace {

const LogLine kLine{.step = 7,
                    .loss = 7.66150951,
                    .grad_norm = 2.85728931,
                    .memory_gib = 0.346,
                    .memory_percent = 2.187,
                    .tps = 1234567.4,
                    .tflops = 1075.123,
                    .mfu = 41.256};

TEST(LogLine, IsTorchTitans) {
  EXPECT_EQ(training_line(kLine, false),
            "step:  7  loss:  7.6615  grad_norm:  2.8573  memory:  0.35GiB(2.19%)  "
            "tps: 1,234,567  tflops: 1,075.12  mfu: 41.26%");
}

TEST(LogLine, HasTorchTitansColors) {
  EXPECT_EQ(training_line(kLine, true),
            "\033[31mstep:  7  \033[32mloss:  7.6615  \033[38;2;180;60;0mgrad_norm:  2.8573  "
            "\033[38;2;54;234;195mmemory:  0.35GiB(2.19%)  \033[34mtps: 1,234,567  "
            "\033[36mtflops: 1,075.12  \033[35mmfu: 41.26%\033[39m");
}

TEST(LogLine, SaysThatThereIsNoMfuWithoutAPeak) {
  LogLine line = kLine;
  line.mfu.reset();
  EXPECT_TRUE(training_line(line, false).ends_with("tflops: 1,075.12  mfu: N/A"));
}

TEST(LogLine, PrintsWhatIsNotFinite) {
  LogLine line = kLine;
  line.step = 100;
  line.loss = std::nan("");
  line.grad_norm = INFINITY;
  EXPECT_TRUE(training_line(line, false)
                  .starts_with("step: 100  loss:     nan  grad_norm:     inf  memory:"));
}

TEST(LogLine, OfAValidationIsTorchTitans) {
  EXPECT_EQ(validation_line(kLine, false),
            "validate step:  7  loss:  7.6615  memory:  0.35GiB(2.19%)  tps: 1,234,567");
  EXPECT_EQ(validation_line(kLine, true),
            "\033[33mvalidate step:  7  \033[32mloss:  7.6615  "
            "\033[38;2;54;234;195mmemory:  0.35GiB(2.19%)  \033[34mtps: 1,234,567\033[39m");
}

TEST(WithThousands, SetsCommasBetweenGroupsOfThree) {
  EXPECT_EQ(with_thousands(0), "0");
  EXPECT_EQ(with_thousands(999), "999");
  EXPECT_EQ(with_thousands(1000), "1,000");
  EXPECT_EQ(with_thousands(-123456), "-123,456");
  EXPECT_EQ(with_thousands(1234567890.125, 2), "1,234,567,890.12");
  EXPECT_EQ(with_thousands(0.005, 2), "0.01");
}

TEST(WithThousands, RoundsHalvesToEvenAsPython) {
  EXPECT_EQ(with_thousands(2.5), "2");
  EXPECT_EQ(with_thousands(3.5), "4");
  EXPECT_EQ(with_thousands(999.5), "1,000");
}

TEST(WithThousands, LeavesWhatIsNotFiniteAlone) { EXPECT_EQ(with_thousands(INFINITY), "inf"); }

}  // namespace
}  // namespace coeus
