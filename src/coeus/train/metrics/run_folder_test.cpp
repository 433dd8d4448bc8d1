#include "coeus/train/metrics/run_folder.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include "coeus/base/error.h"
#include "coeus/base/temporary_folder.h"

namespace coeus {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

/// Root may write anywhere: such a test runs as somebody else.
class AsOrdinaryUser {
 public:
  AsOrdinaryUser() {
    if (was_root_) {
      EXPECT_EQ(seteuid(65534), 0);
    }
  }
  ~AsOrdinaryUser() {
    if (was_root_) {
      EXPECT_EQ(seteuid(0), 0);
    }
  }

 private:
  const bool was_root_ = geteuid() == 0;
};

TEST(RunFolder, IsMadeWithItsParentsAndLeftEmpty) {
  TemporaryFolder folder;
  make_run_folder(folder / "a/b/../c");
  EXPECT_TRUE(std::filesystem::is_directory(folder / "a/c"));
  EXPECT_TRUE(std::filesystem::is_empty(folder / "a/c"));
  make_run_folder(folder / "a/c");
}

TEST(RunFolder, RefusesAFileInTheWay) {
  TemporaryFolder folder;
  folder.write("outputs", "");
  EXPECT_THAT(
      [&] { make_run_folder(folder / "outputs/run"); },
      ThrowsMessage<ConfigError>(AllOf(HasSubstr("[job.dump_folder] cannot make the folder"),
                                       HasSubstr((folder / "outputs").string() + " is a file"))));
}

TEST(RunFolder, RefusesAParentWithoutPermission) {
  TemporaryFolder folder;
  std::filesystem::permissions(folder.path(), std::filesystem::perms(0555));
  AsOrdinaryUser user;
  EXPECT_THAT([&] { make_run_folder(folder / "outputs"); },
              ThrowsMessage<ConfigError>(
                  AllOf(HasSubstr((folder / "outputs").string()), HasSubstr("Permission denied"))));
}

TEST(RunFolder, RefusesAFolderWithoutPermission) {
  TemporaryFolder folder;
  std::filesystem::permissions(folder.path(), std::filesystem::perms(0555));
  AsOrdinaryUser user;
  EXPECT_THAT([&] { make_run_folder(folder.path()); },
              ThrowsMessage<ConfigError>(AllOf(HasSubstr("cannot write into the folder"),
                                               HasSubstr("Permission denied"))));
}

TEST(RunFolder, RefusesAFileSystemThatTakesNoFiles) {
  EXPECT_THAT([] { make_run_folder("/proc/self"); },
              ThrowsMessage<ConfigError>(HasSubstr("cannot write into the folder /proc/self")));
}

TEST(RunFolder, RefusesAnEmptyName) {
  EXPECT_THAT([] { make_run_folder(""); },
              ThrowsMessage<ConfigError>(HasSubstr("[job.dump_folder] names no folder")));
}

}  // namespace
}  // namespace coeus
