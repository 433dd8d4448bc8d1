// What a checkpoint must survive: flipped bits, cut and swapped files, a disk that fails at any
// operation, a loss of power at any moment, and all of that in random order.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <random>
#include <set>

#include "coeus/base/intercepted_file_system.h"
#include "coeus/base/memory_file_system.h"
#include "coeus/checkpoint/checkpointer.h"
#include "coeus/checkpoint/small_run.h"

namespace coeus {
namespace {

namespace fs = std::filesystem;
using testing::AnyOf;
using testing::ElementsAre;
using testing::HasSubstr;

void save(FileSystem& files, std::initializer_list<int64_t> steps, int64_t keep = 0) {
  Checkpointer checkpointer(saving_config(keep), "/run", files);
  for (int64_t step : steps) checkpointer.save(step, small_state(step));
}

std::vector<fs::path> files_of_step(FileSystem& files, int64_t step) {
  std::vector<fs::path> paths;
  fs::path folder = fmt::format("/run/checkpoint/step-{}", step);
  for (const auto& name : files.list(folder)) paths.push_back(folder / name);
  return paths;
}

class CheckpointFaults : public testing::Test {
 protected:
  CapturedLog log;
  MemoryFileSystem files;
};

TEST_F(CheckpointFaults, AFlippedBitAtAnyByteIsNoticedAndTheOneBeforeUsed) {
  save(files, {10, 20});
  for (const fs::path& path : files_of_step(files, 20)) {
    std::string& content = files.content(path);
    for (size_t at = 0; at < content.size(); ++at) {
      const char flip = static_cast<char>(1 << (at % 8));
      content[at] ^= flip;
      ASSERT_EQ(resume(files), 10) << path << " byte " << at;
      content[at] ^= flip;
    }
  }
  EXPECT_EQ(resume(files), 20);
}

TEST_F(CheckpointFaults, ACutOrGrownFileIsNoticed) {
  save(files, {10, 20});
  for (const fs::path& path : files_of_step(files, 20)) {
    const std::string whole = files.content(path);
    for (size_t n = 0; n < whole.size(); n += 1 + n / 64) {
      files.content(path) = whole.substr(0, n);
      ASSERT_EQ(resume(files), 10) << path << " cut to " << n;
    }
    files.content(path) = whole + '\0';
    EXPECT_EQ(resume(files), 10) << path;
    files.content(path) = whole;
  }
  EXPECT_THAT(log.text(), HasSubstr("model.safetensors: the file has 0 bytes, the manifest says "));
}

TEST_F(CheckpointFaults, AMissingASwappedOrARenamedPartIsNoticed) {
  save(files, {10, 20, 30});
  for (const fs::path& path : files_of_step(files, 30)) {
    const fs::path other = fs::path("/run/checkpoint/step-20") / path.filename();
    std::swap(files.content(path), files.content(other));
    EXPECT_EQ(resume(files), 10) << "swapped " << path;
    std::swap(files.content(path), files.content(other));
    files.rename(path, "/aside");
    EXPECT_EQ(resume(files), 20) << "missing " << path;
    files.rename("/aside", path);
  }
  EXPECT_EQ(resume(files), 30);
  files.rename("/run/checkpoint/step-30", "/run/checkpoint/step-40");
  EXPECT_EQ(resume(files), 20);
  EXPECT_THAT(log.text(), HasSubstr("the manifest is that of step 30"));
}

// Lets `act` meet a disk that fails at the k-th operation of the kind, for every k until none
// fails; `check` looks at what is left after each. With `lasting`, all later operations fail too.
template <class Act, class Check>
int with_every_failure(int error, bool changes_only, bool lasting, Act act, Check check) {
  for (int k = 1;; ++k) {
    MemoryFileSystem memory;
    save(memory, {10, 20}, 2);
    int count = 0;
    InterceptedFileSystem failing(memory, [&](const FileOperation& operation) {
      if (changes_only && !operation.changes) return 0;
      ++count;
      return count == k || (lasting && count > k) ? error : 0;
    });
    act(failing);
    check(memory, k);
    if (count < k || testing::Test::HasFatalFailure()) return k;
  }
}

TEST_F(CheckpointFaults, ADiskThatFailsAtAnyOperationOfASaveCostsAtMostThatSave) {
  for (int error : {ENOSPC, EDQUOT, EIO, EROFS}) {
    for (bool lasting : {false, true}) {
      enum { kDone, kSaveFailed, kStartFailed } outcome = kDone;
      auto act = [&](FileSystem& failing) {
        try {
          Checkpointer checkpointer(saving_config(2), "/run", failing);
          checkpointer.save(20, small_state(20));  // takes another's place
          checkpointer.save(30, small_state(30));
          outcome = kDone;
        } catch (const CheckpointSaveError& failure) {
          outcome = kSaveFailed;
          EXPECT_THAT(failure.what(), HasSubstr("cannot save /run/checkpoint/step-"));
          EXPECT_THAT(failure.what(), HasSubstr("the checkpoint needs "));
          EXPECT_THAT(failure.what(), HasSubstr("free are "));
        } catch (const ConfigError&) {
          outcome = kStartFailed;
        }
      };
      int operations = with_every_failure(error, true, lasting, act, [&](auto& memory, int k) {
        SCOPED_TRACE(fmt::format("errno {} at operation {}", error, k));
        // Where a removal itself failed, or the disk is gone, the next start clears up; a replaced
        // checkpoint stays aside while its successor is not known to be durable.
        if (outcome == kSaveFailed && !lasting) {
          EXPECT_THAT(memory.list("/run/checkpoint"),
                      testing::Each(AnyOf(testing::StartsWith("step-"), ".step-20.old")));
          EXPECT_THAT(memory.list("/run/checkpoint"), testing::Contains("step-20"));
        }
        EXPECT_THAT(resume(memory), outcome == kDone ? AnyOf(30, 30) : AnyOf(20, 30));
        EXPECT_THAT(memory.list("/run/checkpoint"), testing::Each(testing::StartsWith("step-")));
      });
      EXPECT_GT(operations, 40);
    }
  }
}

TEST_F(CheckpointFaults, ADiskThatFailsAtAnyReadGivesAnOlderStateOrAnError) {
  for (bool lasting : {false, true}) {
    int operations = with_every_failure(
        EIO, false, lasting,
        [](FileSystem& failing) {
          try {
            EXPECT_THAT(resume(failing), AnyOf(10, 20));
          } catch (const CheckpointError&) {
          } catch (const ConfigError&) {
          }
        },
        [](auto& memory, int) { EXPECT_EQ(resume(memory), 20); });
    EXPECT_GT(operations, 20);
  }
}

TEST_F(CheckpointFaults, AfterALossOfPowerAtAnyMomentARightCheckpointIsLoaded) {
  using Unsynced = MemoryFileSystem::Unsynced;
  std::mt19937_64 random(11);
  int64_t promised = -1;
  std::set<int64_t> possible{-1};
  int states = 0;
  auto lose_power = [&] {
    for (Unsynced contents : {Unsynced::kKept, Unsynced::kLost, Unsynced::kTorn}) {
      for (Unsynced entries : {Unsynced::kKept, Unsynced::kLost, Unsynced::kTorn}) {
        const int tries = contents == Unsynced::kTorn || entries == Unsynced::kTorn ? 4 : 1;
        for (int i = 0; i < tries; ++i, ++states) {
          auto found = files.after_power_loss(contents, entries, random);
          const int64_t step = resume(*found);
          EXPECT_GE(step, promised);
          EXPECT_TRUE(possible.count(step)) << step;
          EXPECT_THAT(found->list("/run/checkpoint"), testing::Each(testing::StartsWith("step-")));
          for (int64_t whole : CheckpointFolder(*found, "/run/checkpoint").steps()) {
            EXPECT_NO_THROW(verify_checkpoint(
                *found, CheckpointFolder(*found, "/run/checkpoint").step_path(whole), whole));
          }
        }
      }
    }
  };
  InterceptedFileSystem watched(files, [&](const FileOperation& operation) {
    if (operation.changes) lose_power();
    return 0;
  });
  Checkpointer checkpointer(saving_config(2), "/run", watched);
  for (int64_t step : {10, 20, 30, 30}) {
    possible.insert(step);
    checkpointer.save(step, small_state(step));
    promised = step;
  }
  lose_power();
  EXPECT_THAT(files.list("/run/checkpoint"), ElementsAre("step-20", "step-30"));
  EXPECT_GT(states, 1000);
}

// Saves, failed saves, damage, restarts and returns to older steps in random order, beside a plain
// account of what must be there.
class RandomHistory {
 public:
  explicit RandomHistory(uint64_t seed) : random_(seed), keep_(2 + below(3)) { restart(); }

  void step() {
    switch (below(8)) {
      case 0:
        return damage();
      case 1:
        return restart();
      case 2:
        return failing_save();
      default:
        return good_save();
    }
  }

  bool ended() const { return ended_; }

 private:
  int64_t below(int64_t bound) { return int64_t(random_() % uint64_t(bound)); }

  void good_save() {
    now_ += 1 + below(3);
    checkpointer_->save(now_, small_state(now_));
    good_.insert(now_);
    damaged_.erase(now_);
    note_what_is_there();
    int64_t up_to_now = 0;
    for (const auto& set : {good_, damaged_}) {
      up_to_now += int64_t(std::distance(set.begin(), set.upper_bound(now_)));
    }
    EXPECT_LE(up_to_now, keep_);
    EXPECT_TRUE(good_.count(now_));
  }

  void failing_save() {
    countdown_ = 1 + below(30);
    int64_t step = now_ + 1 + below(3);
    try {
      checkpointer_->save(step, small_state(step));
      now_ = step;
      good_.insert(step);
      damaged_.erase(step);
    } catch (const CheckpointSaveError&) {
    }
    countdown_ = 0;
    note_what_is_there();
  }

  void damage() {
    std::set<int64_t> all = good_;
    if (all.empty()) return;
    auto victim = std::next(all.begin(), below(int64_t(all.size())));
    auto paths = files_of_step(disk_, *victim);
    std::string& content = disk_.content(paths[size_t(below(int64_t(paths.size())))]);
    content[size_t(below(int64_t(content.size())))] ^= char(1 << below(8));
    good_.erase(*victim);
    damaged_.insert(*victim);
  }

  void restart() {
    checkpointer_.reset();
    checkpointer_ = std::make_unique<Checkpointer>(saving_config(keep_), "/run", files_);
    TrainingState state = blank_state();
    if (good_.empty() && !damaged_.empty()) {
      EXPECT_THROW(checkpointer_->load(state), CheckpointError);
      ended_ = true;
      return;
    }
    auto loaded = checkpointer_->load(state);
    EXPECT_EQ(loaded.has_value(), !good_.empty());
    if (!loaded) return;
    EXPECT_EQ(loaded->step, *good_.rbegin());
    EXPECT_TRUE(same_state(state, small_state(loaded->step)));
    now_ = loaded->step;
  }

  // A failed save may still have put its checkpoint into place, and may have failed to remove.
  void note_what_is_there() {
    std::set<int64_t> there;
    for (int64_t step : CheckpointFolder(disk_, "/run/checkpoint").steps()) there.insert(step);
    for (int64_t step : there) {
      if (good_.count(step) || !is_whole(step)) continue;
      good_.insert(step);
      damaged_.erase(step);
    }
    bool had_good = !good_.empty();
    std::erase_if(good_, [&](int64_t step) { return !there.count(step); });
    std::erase_if(damaged_, [&](int64_t step) { return !there.count(step); });
    EXPECT_EQ(good_.empty(), !had_good) << "the last good checkpoint was removed";
  }

  bool is_whole(int64_t step) {
    try {
      verify_checkpoint(disk_, fmt::format("/run/checkpoint/step-{}", step), step);
      return true;
    } catch (const CheckpointError&) {
      return false;
    }
  }

  std::mt19937_64 random_;
  int64_t keep_;
  int64_t now_ = 0;
  int64_t countdown_ = 0;
  bool ended_ = false;
  std::set<int64_t> good_, damaged_;
  MemoryFileSystem disk_;
  InterceptedFileSystem files_{
      disk_, [this](const FileOperation& operation) {
        return operation.changes && countdown_ > 0 && --countdown_ == 0 ? EIO : 0;
      }};
  std::unique_ptr<Checkpointer> checkpointer_;
};

TEST_F(CheckpointFaults, InAnyHistoryAGoodCheckpointRemainsAndTheNewestIsUsed) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(seed);
    RandomHistory history(seed);
    for (int i = 0; i < 30 && !history.ended(); ++i) history.step();
    ASSERT_FALSE(HasFailure());
  }
}

}  // namespace
}  // namespace coeus
