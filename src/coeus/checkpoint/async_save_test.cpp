// Saves that go on while the run does.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <future>

#include "coeus/base/intercepted_file_system.h"
#include "coeus/base/memory_file_system.h"
#include "coeus/base/temporary_folder.h"
#include "coeus/checkpoint/sharded_run.h"
#include "coeus/checkpoint/thread_ranks.h"

namespace coeus {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

CheckpointConfig async_config(int64_t keep = 0) {
  CheckpointConfig config = saving_config(keep);
  config.async_mode = "async";
  return config;
}

class AsyncSave : public testing::Test {
 protected:
  /// Lets the file system stop, at its first change, until `go` is called.
  void stop_at_first_change() { is_stopped_ = true; }
  void go() { gate_.set_value(); }

  CapturedLog log;
  MemoryFileSystem memory;
  int error = 0;
  InterceptedFileSystem files{memory, [this](const FileOperation& operation) {
                                if (!operation.changes) return 0;
                                if (is_stopped_) {
                                  is_stopped_ = false;
                                  gate_.get_future().wait();
                                }
                                return error;
                              }};

 private:
  bool is_stopped_ = false;
  std::promise<void> gate_;
};

void change(TrainingState& state) {
  for (auto* tensors : {&state.model, &state.optimizer}) {
    for (auto& [name, tensor] : *tensors) tensor.zero_();
  }
  state.states.clear();
}

TEST_F(AsyncSave, HoldsTheStateAsItWasWhenSaveWasCalled) {
  for (const char* mode : {"async", "Async_With_Pinned_Mem"}) {
    CheckpointConfig config = async_config();
    config.async_mode = mode;
    TrainingState state = small_state(10);
    Checkpointer checkpointer(config, "/run", memory);
    checkpointer.save(10, state);
    change(state);
    checkpointer.wait();
    EXPECT_EQ(checkpointer.load(state = blank_state())->step, 10);
    EXPECT_TRUE(same_state(state, small_state(10))) << mode;
  }
}

TEST_F(AsyncSave, ReturnsBeforeAnythingIsWritten) {
  TrainingState state = small_state(10);
  Checkpointer checkpointer(async_config(), "/run", files);
  stop_at_first_change();
  checkpointer.save(10, state);
  change(state);
  EXPECT_FALSE(checkpointer.should_save(1, false));
  go();
  checkpointer.wait();
  EXPECT_THAT(memory.list("/run/checkpoint"), ElementsAre("step-10"));
  TrainingState found = blank_state();
  checkpointer.load(found);
  EXPECT_TRUE(same_state(found, small_state(10)));
}

TEST_F(AsyncSave, TheNextSaveALoadAndTheEndWaitForIt) {
  {
    Checkpointer checkpointer(async_config(2), "/run", memory);
    for (int64_t step : {10, 20, 30, 40}) checkpointer.save(step, small_state(step));
    TrainingState state = blank_state();
    EXPECT_EQ(checkpointer.load(state)->step, 40);
    EXPECT_THAT(memory.list("/run/checkpoint"), ElementsAre("step-30", "step-40"));
    checkpointer.save(50, small_state(50));
  }
  EXPECT_THAT(memory.list("/run/checkpoint"), ElementsAre("step-40", "step-50"));
  EXPECT_EQ(resume(memory), 50);
}

TEST_F(AsyncSave, TheLastStepsIsThereOnReturn) {
  Checkpointer checkpointer(async_config(), "/run", memory);
  checkpointer.save(10, small_state(10));
  checkpointer.save(20, small_state(20), /*last_step=*/true);
  EXPECT_THAT(memory.list("/run/checkpoint"), ElementsAre("step-10", "step-20"));
}

TEST_F(AsyncSave, AFailureIsLoggedByTheNextSaveAndThrownAtTheEnd) {
  Checkpointer checkpointer(async_config(), "/run", files);
  error = ENOSPC;
  checkpointer.save(10, small_state(10));
  EXPECT_THROW(checkpointer.wait(), CheckpointSaveError);
  EXPECT_NO_THROW(checkpointer.wait());

  checkpointer.save(20, small_state(20));
  TrainingState state = blank_state();
  EXPECT_FALSE(checkpointer.load(state));
  EXPECT_THAT(log.text(), HasSubstr("cannot save /run/checkpoint/step-20"));
  EXPECT_THAT(log.text(), HasSubstr("; training goes on"));

  checkpointer.save(30, small_state(30));
  EXPECT_THROW(checkpointer.save(40, small_state(40), /*last_step=*/true), CheckpointSaveError);
  EXPECT_THAT(log.text(), HasSubstr("cannot save /run/checkpoint/step-30"));
  error = 0;
  checkpointer.save(50, small_state(50));
  checkpointer.wait();
  EXPECT_THAT(memory.list("/run/checkpoint"), ElementsAre("step-50"));
}

TEST_F(AsyncSave, AStateThatCannotBeSavedIsRefusedAtOnce) {
  Checkpointer checkpointer(async_config(), "/run", memory);
  TrainingState state = small_state(10);
  state.model.push_back(state.model[0]);
  EXPECT_THROW(checkpointer.save(10, state), Error);
  EXPECT_NO_THROW(checkpointer.wait());
}

TEST_F(AsyncSave, RanksSaveTogetherWhileEachGoesOn) {
  TemporaryFolder folder;
  const TrainingState whole = small_state(30);
  RandomLayouts random(3);
  const Layout model = random.layout_of(whole.model, 3);
  const Layout optimizer = random.layout_of(whole.optimizer, 3);
  run_thread_ranks(3, [&](CheckpointRanks& ranks) {
    const auto own = static_cast<size_t>(ranks.rank());
    const auto state_of = [&](int64_t step) {
      return rank_state(small_state(step), model[own], optimizer[own]);
    };
    Checkpointer checkpointer(async_config(2), folder.path(), posix_file_system(), ranks);
    for (int64_t step : {10, 20, 30}) {
      TrainingState state = state_of(step);
      checkpointer.save(step, state);
      change(state);
    }
    TrainingState state = rank_state(blank_state(), model[own], optimizer[own]);
    EXPECT_EQ(checkpointer.load(state)->step, 30);
    EXPECT_TRUE(same_state(state, state_of(30)));
  });
  EXPECT_THAT(posix_file_system().list(folder / "checkpoint"), ElementsAre("step-20", "step-30"));
  EXPECT_EQ(resume(posix_file_system(), folder.path()), 30);
}

}  // namespace
}  // namespace coeus
