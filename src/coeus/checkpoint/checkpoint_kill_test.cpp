// A process that is killed while it saves, on the real file system.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <random>
#include <utility>

#include "coeus/base/intercepted_file_system.h"
#include "coeus/base/temporary_folder.h"
#include "coeus/checkpoint/checkpointer.h"
#include "coeus/checkpoint/small_run.h"

namespace coeus {
namespace {

namespace fs = std::filesystem;
using testing::AnyOf;

// In a child process: saves step after step from `first` on, tells each finished one through the
// pipe, and calls `before` before every operation on the disk.
[[noreturn]] void save_forever(const fs::path& folder, int64_t first, int pipe,
                               const InterceptedFileSystem::Hook& before) {
  InterceptedFileSystem files(posix_file_system(), before);
  Checkpointer checkpointer(saving_config(2), folder, files);
  for (int64_t step = first;; ++step) {
    checkpointer.save(step, small_state(step));
    if (::write(pipe, &step, sizeof step) != sizeof step) ::_exit(3);
  }
}

class Pipe {
 public:
  Pipe() {
    if (::pipe(ends_) != 0) throw std::runtime_error("pipe");
  }
  ~Pipe() {
    ::close(ends_[0]);
    close_writer();
  }
  int reader() const { return ends_[0]; }
  int writer() const { return ends_[1]; }
  void close_writer() {
    if (ends_[1] >= 0) ::close(std::exchange(ends_[1], -1));
  }

 private:
  int ends_[2];
};

void expect_killed(pid_t child) {
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
}

TEST(KilledProcess, BeforeAnyOperationLosesNoFinishedSave) {
  CapturedLog log;
  TemporaryFolder folder;
  int64_t last = 0;
  for (int k = 1; k <= 60; ++k) {
    Pipe pipe;
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      int count = 0;
      save_forever(folder.path(), last + 1, pipe.writer(), [&](const FileOperation& operation) {
        if (operation.changes && ++count == k) ::raise(SIGKILL);
        return 0;
      });
    }
    pipe.close_writer();
    expect_killed(child);
    int64_t finished = last;
    for (int64_t step; ::read(pipe.reader(), &step, sizeof step) == sizeof step;) finished = step;
    const int64_t found = resume(posix_file_system(), folder.path());
    EXPECT_THAT(found, AnyOf(finished == 0 ? -1 : finished, finished + 1)) << "operation " << k;
    last = std::max<int64_t>(found, 0);
  }
  EXPECT_GT(last, 20);
}

TEST(KilledProcess, AtARandomInstantLosesNoFinishedSave) {
  CapturedLog log;
  TemporaryFolder folder;
  std::mt19937_64 random(17);
  int64_t last = 0;
  for (int i = 0; i < 20; ++i) {
    Pipe finished_steps, operations;
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      save_forever(folder.path(), last + 1, finished_steps.writer(), [&](const FileOperation&) {
        return ::write(operations.writer(), "o", 1) == 1 ? 0 : EIO;
      });
    }
    finished_steps.close_writer();
    operations.close_writer();
    char byte;
    for (size_t n = random() % 200 + 1; n > 0; --n)
      ASSERT_EQ(::read(operations.reader(), &byte, 1), 1);
    ::kill(child, SIGKILL);
    expect_killed(child);
    int64_t finished = last;
    for (int64_t step; ::read(finished_steps.reader(), &step, sizeof step) == sizeof step;) {
      finished = step;
    }
    const int64_t found = resume(posix_file_system(), folder.path());
    EXPECT_THAT(found, AnyOf(finished == 0 ? -1 : finished, finished + 1));
    last = std::max<int64_t>(found, 0);
  }
}

}  // namespace
}  // namespace coeus
