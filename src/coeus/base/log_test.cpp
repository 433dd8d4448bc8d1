#include "coeus/base/log.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <pty.h>
#include <unistd.h>

#include <cstdlib>

#include "coeus/base/error.h"
#include "coeus/base/temporary_folder.h"

namespace coeus {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

/// Standard error as a terminal of 60 columns, or as a pipe, for the life of the object.
class CapturedStandardError {
 public:
  explicit CapturedStandardError(bool terminal) : saved_(dup(STDERR_FILENO)) {
    int ends[2];
    if (terminal) {
      winsize size{.ws_row = 24, .ws_col = 60};
      EXPECT_EQ(openpty(&ends[0], &ends[1], nullptr, nullptr, &size), 0);
    } else {
      EXPECT_EQ(pipe(ends), 0);
    }
    out_ = ends[0];
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    setenv("TERM", "xterm", 1);
    unsetenv("NO_COLOR");
  }
  ~CapturedStandardError() {
    dup2(saved_, STDERR_FILENO);
    close(saved_);
    close(out_);
    init_log();
  }
  /// What was written since the last call. A terminal turns "\n" into "\r\n".
  std::string text() {
    std::string all;
    char buffer[4096];
    for (pollfd waiting{out_, POLLIN, 0}; poll(&waiting, 1, 0) == 1;) {
      ssize_t n = read(out_, buffer, sizeof buffer);
      if (n <= 0) break;
      all.append(buffer, n);
    }
    return all;
  }

 private:
  int saved_;
  int out_;
};

TEST(Log, PrefixesALineAsPythonsLoggingDoes) {
  CapturedStandardError captured(false);
  init_log();
  log_info("loaded {} tensors", 3);
  EXPECT_THAT(captured.text(),
              MatchesRegex("\\[coeus\\] [0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2},"
                           "[0-9]{3} - root - INFO - loaded 3 tensors\n"));
  log_warning("slow");
  EXPECT_THAT(captured.text(), EndsWith(" - root - WARNING - slow\n"));
  log_error("gone");
  EXPECT_THAT(captured.text(), EndsWith(" - root - ERROR - gone\n"));
}

TEST(Log, KeepsColorsOnATerminalOnly) {
  {
    CapturedStandardError captured(true);
    init_log();
    log_info("\033[31mred\033[39m");
    EXPECT_THAT(captured.text(), EndsWith("\033[31mred\033[39m\r\n"));
    setenv("NO_COLOR", "1", 1);
    init_log();
    log_info("\033[38;2;180;60;0mred\033[39m");
    EXPECT_THAT(captured.text(), EndsWith(" - red\r\n"));
    unsetenv("NO_COLOR");
    init_log(false);
    log_info("\033[31mred\033[39m");
    EXPECT_THAT(captured.text(), EndsWith(" - red\r\n"));
  }
  CapturedStandardError captured(false);
  init_log();
  log_info("\033[31mred\033[39m");
  EXPECT_THAT(captured.text(), EndsWith(" - red\n"));
}

TEST(Log, KeepsColorsInAPipeWhereTheyAreAskedFor) {
  CapturedStandardError captured(false);
  setenv("CLICOLOR_FORCE", "1", 1);
  init_log();
  log_info("\033[31mred\033[39m");
  EXPECT_THAT(captured.text(), EndsWith("\033[31mred\033[39m\n"));
  init_log(false);
  log_info("\033[31mred\033[39m");
  EXPECT_THAT(captured.text(), EndsWith(" - red\n"));
  unsetenv("CLICOLOR_FORCE");
}

TEST(Log, OfRanksAboveZeroPrintsWarningsAndErrorsAlone) {
  const TemporaryFolder folder;
  CapturedStandardError captured(false);
  init_log();
  set_log_rank(3);
  log_to_file(folder / "rank3.log");
  log_info("loaded");
  log_warning("slow");
  log_error("gone");
  EXPECT_THAT(captured.text(), MatchesRegex("\\[rank3\\]: \\[coeus\\][^\n]* - WARNING - slow\n"
                                            "\\[rank3\\]: \\[coeus\\][^\n]* - ERROR - gone\n"));
  EXPECT_THAT(file_text(folder / "rank3.log"),
              MatchesRegex("\\[coeus.* - loaded\n\\[coeus.* - slow\n\\[coeus.* - gone\n"));
  set_log_rank(0);
  log_info("loaded");
  EXPECT_THAT(captured.text(), MatchesRegex("\\[coeus.* - INFO - loaded\n"));
}

TEST(Log, KeepsTheStatusLineBelowTheLinesOfATerminal) {
  CapturedStandardError captured(true);
  init_log();
  EXPECT_EQ(log_terminal_columns(), 60);
  set_status_line("step 1/2");
  EXPECT_EQ(captured.text(), "\r\033[Kstep 1/2");
  set_status_line("step 1/2");
  EXPECT_EQ(captured.text(), "") << "the same status needs no redrawing";
  log_info("hello");
  EXPECT_THAT(captured.text(), MatchesRegex("\r.\\[K\\[coeus.* - hello\r\nstep 1/2"));
  set_status_line("");
  EXPECT_EQ(captured.text(), "\r\033[K");
  log_info("bye");
  EXPECT_THAT(captured.text(), MatchesRegex("\\[coeus.* - bye\r\n"));
}

TEST(Log, ShowsNoStatusLineWithoutATerminal) {
  CapturedStandardError captured(false);
  init_log();
  EXPECT_EQ(log_terminal_columns(), 0);
  set_status_line("step 1/2");
  log_info("hello");
  EXPECT_THAT(captured.text(), Not(HasSubstr("step")));
}

TEST(Log, ShowsNoStatusLineOnATerminalThatCannotRedraw) {
  CapturedStandardError captured(true);
  setenv("TERM", "dumb", 1);
  init_log();
  EXPECT_EQ(log_terminal_columns(), 0);
  set_status_line("step 1/2");
  EXPECT_EQ(captured.text(), "");
}

TEST(Log, WritesAFileWithoutColors) {
  const TemporaryFolder folder;
  const auto path = folder / "log";
  CapturedStandardError captured(false);
  init_log();
  log_to_file(path);
  log_info("\033[31mred\033[39m");
  EXPECT_THAT(file_text(path), MatchesRegex("\\[coeus.* - INFO - red\n"));
}

TEST(Log, NamesAFileThatItCannotOpen) {
  EXPECT_THAT([] { log_to_file("/proc/no/such.log"); },
              testing::ThrowsMessage<Error>(HasSubstr("cannot write /proc/no/such.log")));
}

}  // namespace
}  // namespace coeus
