#include "coeus/checkpoint/checkpoint_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <random>
#include <set>

#include "coeus/base/memory_file_system.h"

namespace coeus {
namespace {

using testing::ElementsAre;

class CheckpointFolderTest : public testing::Test {
 protected:
  CheckpointFolderTest() { files.make_folders("/run"); }

  void publish(int64_t step, const std::string& content) {
    auto file = files.create(folder.begin(step) / "f");
    file->write(std::as_bytes(std::span(content)));
    file->sync();
    folder.publish(step);
  }

  MemoryFileSystem files;
  CheckpointFolder folder{files, "/run"};
};

TEST_F(CheckpointFolderTest, ListsStepsByNumberAndNothingElse) {
  for (const char* name : {"step-9", "step-10", "step-0", "step-007", "step--1", "step-", "step-1x",
                           "xstep-3", "step-99999999999999999999", ".step-4.tmp"}) {
    files.make_folders(std::filesystem::path("/run") / name);
  }
  files.put("/run/step-5", "a file");
  EXPECT_THAT(folder.steps(), ElementsAre(0, 9, 10));
  EXPECT_THAT(CheckpointFolder(files, "/nowhere").steps(), ElementsAre());
}

TEST_F(CheckpointFolderTest, PublishesAndReplaces) {
  publish(3, "one");
  publish(3, "two");
  EXPECT_EQ(files.content("/run/step-3/f"), "two");
  EXPECT_THAT(files.list("/run"), ElementsAre("step-3"));
}

TEST_F(CheckpointFolderTest, LeavesNothingOfAFailedSave) {
  publish(3, "one");
  for (int64_t step : {3, 4}) {
    folder.begin(step);
    folder.abandon(step);
  }
  EXPECT_THAT(files.list("/run"), ElementsAre("step-3"));
  EXPECT_EQ(files.content("/run/step-3/f"), "one");
}

TEST_F(CheckpointFolderTest, CleansUpItsOwnLeftoversOnly) {
  files.put("/run/.step-4.tmp/model.safetensors", "half");
  files.put("/run/.step-1.trash/model.safetensors", "old");
  files.put("/run/.step-2.old/f", "moved aside");
  files.put("/run/step-3/f", "new");
  files.put("/run/.step-3.old/f", "replaced");
  for (const char* foreign : {"/run/.step-5.tmp-backup/f", "/run/.step-x.tmp/f", "/run/notes.tmp/f",
                              "/run/.step-05.tmp/f"}) {
    files.put(foreign, "not ours");
  }
  folder.clean_up();
  EXPECT_THAT(files.list("/run"), ElementsAre(".step-05.tmp", ".step-5.tmp-backup", ".step-x.tmp",
                                              "notes.tmp", "step-2", "step-3"));
  EXPECT_EQ(files.content("/run/step-2/f"), "moved aside");
  EXPECT_EQ(files.content("/run/step-3/f"), "new");
}

TEST_F(CheckpointFolderTest, PublishingOverAnInterruptedReplacementKeepsTheOldOneUntilDone) {
  files.put("/run/.step-3.old/f", "moved aside");
  folder.begin(3);
  folder.abandon(3);
  EXPECT_EQ(files.content("/run/step-3/f"), "moved aside");
}

TEST_F(CheckpointFolderTest, Removes) {
  publish(3, "one");
  publish(4, "two");
  folder.remove(3);
  EXPECT_THAT(files.list("/run"), ElementsAre("step-4"));
}

TEST_F(CheckpointFolderTest, RemovingAStepDoesNotBringBackWhatItReplaced) {
  publish(3, "new");
  files.put("/run/.step-3.old/f", "could not be removed when it was replaced");
  folder.remove(3);
  folder.clean_up();
  EXPECT_THAT(files.list("/run"), ElementsAre());
}

TEST(StepsToRemove, KeepsTheLatestKUpToTheOneSaved) {
  EXPECT_THAT(steps_to_remove({10, 20, 30}, 30, 2), ElementsAre(10));
  EXPECT_THAT(steps_to_remove({10, 20, 30}, 30, 3), ElementsAre());
  EXPECT_THAT(steps_to_remove({10, 20, 30}, 30, 0), ElementsAre());
  EXPECT_THAT(steps_to_remove({10, 20, 30, 40}, 20, 2), ElementsAre());
  EXPECT_THAT(steps_to_remove({10, 15, 20, 30, 40}, 20, 2), ElementsAre(10));
}

TEST(StepsToRemove, NeverTheOneSavedNorALaterOneNorMoreThanAsked) {
  std::mt19937_64 random(3);
  for (int i = 0; i < 2000; ++i) {
    std::set<int64_t> set;
    for (size_t n = random() % 12 + 1; n > 0; --n) set.insert(int64_t(random() % 40));
    std::vector<int64_t> steps(set.begin(), set.end());
    const int64_t saved = steps[random() % steps.size()];
    const int64_t keep = int64_t(random() % 5) + 1;
    auto removed = steps_to_remove(steps, saved, keep);
    for (int64_t step : removed) EXPECT_LT(step, saved);
    auto upto = std::count_if(steps.begin(), steps.end(), [&](int64_t s) { return s <= saved; });
    EXPECT_EQ(upto - int64_t(removed.size()), std::min<int64_t>(upto, keep));
    if (!removed.empty()) {
      auto oldest_kept = steps.begin() + int64_t(removed.size());
      EXPECT_LT(removed.back(), *oldest_kept);
    }
  }
}

}  // namespace
}  // namespace coeus
