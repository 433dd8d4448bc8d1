// A process that is killed while it saves, on the real file system.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <random>
#include <utility>

#include "coeus/base/intercepted_file_system.h"
#include "coeus/base/temporary_folder.h"
#include "coeus/checkpoint/checkpointer.h"
#include "coeus/checkpoint/small_run.h"
#include "coeus/checkpoint/thread_ranks.h"

namespace coeus {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::Ge;
using testing::Le;

/// A process that saves and is killed: how it saves, and of how many ranks (threads) it consists.
struct Killed {
  std::string async_mode = "disabled";
  int ranks = 1;
};

void PrintTo(const Killed& killed, std::ostream* out) {
  *out << killed.async_mode << " on " << killed.ranks << " ranks";
}

/// Of several ranks each holds some rows of every tensor, the first all of a scalar.
TrainingState state_of_rank(int64_t step, const CheckpointRanks& ranks) {
  TrainingState state = small_state(step);
  const auto cut = [&](NamedTensors& tensors, HeldSlices& slices) {
    for (auto& [name, tensor] : tensors) {
      TensorSlice slice = TensorSlice::whole_of(tensor.sizes().vec());
      if (tensor.dim() > 0) {
        const int64_t begin = tensor.size(0) * ranks.rank() / ranks.size();
        const int64_t end = tensor.size(0) * (ranks.rank() + 1) / ranks.size();
        tensor = tensor.narrow(0, begin, end - begin);
        slice = slice.narrowed(0, begin, end - begin);
      }
      slices[name] = {slice, tensor.dim() > 0 || ranks.rank() == 0};
    }
  };
  if (ranks.size() > 1) {
    cut(state.model, state.model_slices);
    cut(state.optimizer, state.optimizer_slices);
  }
  return state;
}

// In a child process: saves step after step from `first` on, tells each finished one through the
// pipe, and calls `before`, which may come from any thread, before every operation on the disk.
[[noreturn]] void save_forever(const Killed& how, const fs::path& folder, int64_t first, int pipe,
                               const InterceptedFileSystem::Hook& before) {
  CheckpointConfig config = saving_config(2);
  config.async_mode = how.async_mode;
  InterceptedFileSystem files(posix_file_system(), before);
  const auto save = [&](CheckpointRanks& ranks) {
    Checkpointer checkpointer(config, folder, files, ranks);
    for (int64_t step = first;; ++step) {
      checkpointer.save(step, state_of_rank(step, ranks));
      // An asynchronous save has waited for the one before it, and for no more.
      const int64_t finished = how.async_mode == "disabled" ? step : step - 1;
      if (ranks.rank() == 0 && ::write(pipe, &finished, sizeof finished) != sizeof finished)
        ::_exit(3);
    }
  };
  if (how.ranks == 1) save(single_rank());
  run_thread_ranks(how.ranks, save);
  ::_exit(4);
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

class KilledProcess : public testing::TestWithParam<Killed> {
 protected:
  /// What the next process finds after one that told it had finished these steps, and until when.
  void expect_nothing_lost(Pipe& finished_steps) {
    int64_t finished = last;
    for (int64_t step; ::read(finished_steps.reader(), &step, sizeof step) == sizeof step;)
      finished = std::max(finished, step);
    const int64_t found = resume(posix_file_system(), folder.path());
    // Beyond what was told finished one more may be, and one that an asynchronous save began.
    const int64_t ahead = GetParam().async_mode == "disabled" ? 1 : 2;
    EXPECT_THAT(found, AllOf(Ge(finished == 0 ? -1 : finished), Le(finished + ahead)));
    last = std::max<int64_t>(found, 0);
  }

  CapturedLog log;
  TemporaryFolder folder;
  int64_t last = 0;
};

TEST_P(KilledProcess, BeforeAnyOperationLosesNoFinishedSave) {
  for (int k = 1; k <= 60; ++k) {
    SCOPED_TRACE(k);
    Pipe pipe;
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      std::atomic<int> count = 0;
      save_forever(GetParam(), folder.path(), last + 1, pipe.writer(),
                   [&](const FileOperation& operation) {
                     if (operation.changes && ++count == k) ::raise(SIGKILL);
                     return 0;
                   });
    }
    pipe.close_writer();
    expect_killed(child);
    expect_nothing_lost(pipe);
  }
  EXPECT_GT(last, 20);
}

TEST_P(KilledProcess, AtARandomInstantLosesNoFinishedSave) {
  std::mt19937_64 random(17);
  for (int i = 0; i < 50; ++i) {
    SCOPED_TRACE(i);
    Pipe finished_steps, operations;
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      save_forever(GetParam(), folder.path(), last + 1, finished_steps.writer(),
                   [&](const FileOperation&) {
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
    expect_nothing_lost(finished_steps);
  }
  EXPECT_GT(last, 20);
}

INSTANTIATE_TEST_SUITE_P(Saves, KilledProcess,
                         testing::Values(Killed{"disabled", 1}, Killed{"async", 1},
                                         Killed{"disabled", 2}, Killed{"async", 2}));

}  // namespace
}  // namespace coeus
