#include "coeus/base/file_system.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "coeus/base/intercepted_file_system.h"
#include "coeus/base/memory_file_system.h"
#include "coeus/base/temporary_folder.h"

namespace coeus {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

void write_file(FileSystem& file_system, const fs::path& path, std::string_view text) {
  auto file = file_system.create(path);
  file->write(bytes_of(text));
  file->sync();
  file->close();
}

template <class Call>
int error_number_of(Call call) {
  try {
    call();
  } catch (const FileError& error) {
    return error.error_number();
  }
  return 0;
}

// What both implementations must agree in, so that a test on the one speaks for the other.
class EveryFileSystem : public testing::TestWithParam<bool> {
 protected:
  FileSystem& files() {
    return GetParam() ? static_cast<FileSystem&>(memory_) : posix_file_system();
  }
  fs::path folder() {
    if (GetParam()) files().make_folders("/run");
    return GetParam() ? fs::path("/run") : temporary_.path();
  }

 private:
  MemoryFileSystem memory_;
  TemporaryFolder temporary_;
};
INSTANTIATE_TEST_SUITE_P(, EveryFileSystem, testing::Bool(),
                         [](const auto& info) { return info.param ? "Memory" : "Posix"; });

TEST_P(EveryFileSystem, ReadsBackWhatWasWritten) {
  fs::path path = folder() / "a";
  write_file(files(), path, "some text");
  auto file = files().open(path);
  EXPECT_EQ(file->size(), 9u);
  std::string part(4, ' ');
  file->read(5, std::as_writable_bytes(std::span(part)));
  EXPECT_EQ(part, "text");
  EXPECT_EQ(files().read_text(path, 9), "some text");
  EXPECT_THROW(files().read_text(path, 8), Error);
}

TEST_P(EveryFileSystem, RefusesToReadPastTheEnd) {
  fs::path path = folder() / "a";
  write_file(files(), path, "abc");
  auto file = files().open(path);
  std::string part(2, ' ');
  EXPECT_EQ(error_number_of([&] { file->read(2, std::as_writable_bytes(std::span(part))); }), EIO);
  EXPECT_EQ(error_number_of([&] { file->read(9, std::as_writable_bytes(std::span(part))); }), EIO);
}

TEST_P(EveryFileSystem, NamesWhatItRefuses) {
  fs::path at = folder();
  write_file(files(), at / "a", "x");
  EXPECT_EQ(error_number_of([&] { files().create(at / "a"); }), EEXIST);
  EXPECT_EQ(error_number_of([&] { files().create(at / "no" / "a"); }), ENOENT);
  EXPECT_EQ(error_number_of([&] { files().create(at / "a" / "b"); }), ENOTDIR);
  EXPECT_EQ(error_number_of([&] { files().open(at / "no"); }), ENOENT);
  EXPECT_EQ(error_number_of([&] { files().open(at); }), EISDIR);
  EXPECT_EQ(error_number_of([&] { files().make_folder(at / "a"); }), EEXIST);
  EXPECT_EQ(error_number_of([&] { files().remove_file(at / "no"); }), ENOENT);
  EXPECT_EQ(error_number_of([&] { files().remove_folder(at); }), ENOTEMPTY);
  EXPECT_EQ(error_number_of([&] { files().list(at / "no"); }), ENOENT);
  EXPECT_EQ(error_number_of([&] { files().rename(at / "no", at / "b"); }), ENOENT);
  try {
    files().open(at / "no");
    FAIL();
  } catch (const FileError& error) {
    EXPECT_EQ(std::string(error.what()),
              "cannot open " + (at / "no").string() + ": No such file or directory");
  }
}

TEST_P(EveryFileSystem, RenamesFoldersButNotOntoFullOnes) {
  fs::path at = folder();
  files().make_folder(at / "one");
  write_file(files(), at / "one" / "a", "1");
  files().make_folder(at / "two");
  write_file(files(), at / "two" / "a", "2");
  EXPECT_EQ(error_number_of([&] { files().rename(at / "one", at / "two"); }), ENOTEMPTY);
  files().rename(at / "one", at / "three");
  EXPECT_THAT(files().list(at), ElementsAre("three", "two"));
  EXPECT_EQ(files().read_text(at / "three" / "a", 10), "1");
}

TEST_P(EveryFileSystem, MakesAndRemovesWholeTrees) {
  fs::path at = folder();
  files().make_folders(at / "x" / "y" / "z");
  files().make_folders(at / "x" / "y" / "z");
  files().make_folders(at / "x" / "w" / "");
  write_file(files(), at / "x" / "y" / "a", "1");
  EXPECT_EQ(files().kind(at / "x" / "w"), FileSystem::Kind::kFolder);
  EXPECT_EQ(files().kind(at / "x" / "y" / "a"), FileSystem::Kind::kFile);
  EXPECT_EQ(error_number_of([&] { files().make_folders(at / "x" / "y" / "a" / "b"); }), ENOTDIR);
  files().remove_all(at / "x");
  EXPECT_EQ(files().kind(at / "x"), FileSystem::Kind::kAbsent);
  EXPECT_THAT(files().list(at), ElementsAre());
}

TEST_P(EveryFileSystem, LocksAFolderForOneHolder) {
  fs::path at = folder();
  auto first = files().try_lock(at);
  ASSERT_TRUE(first);
  EXPECT_FALSE(files().try_lock(at));
  first.reset();
  EXPECT_TRUE(files().try_lock(at));
}

TEST(FileError, KnowsAFullDiskFromABrokenOne) {
  EXPECT_TRUE(FileError("write", "/x", ENOSPC).is_out_of_space());
  EXPECT_TRUE(FileError("write", "/x", EDQUOT).is_out_of_space());
  EXPECT_FALSE(FileError("write", "/x", EIO).is_out_of_space());
}

// A limit on file sizes makes the system write the first bytes and refuse the rest.
TEST(PosixFileSystem, FinishesOrReportsAShortWrite) {
  TemporaryFolder folder;
  fs::path path = folder.path() / "a";
  pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    rlimit limit{1000, 1000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    int error =
        error_number_of([&] { write_file(posix_file_system(), path, std::string(1500, 'x')); });
    ::_exit(error == EFBIG ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  EXPECT_EQ(fs::file_size(path), 1000u);
}

TEST(PosixFileSystem, RemovesALinkAndNotWhatItLeadsTo) {
  TemporaryFolder folder;
  fs::create_directory(folder.path() / "kept");
  write_file(posix_file_system(), folder.path() / "kept" / "a", "1");
  fs::create_directory(folder.path() / "gone");
  fs::create_directory_symlink(folder.path() / "kept", folder.path() / "gone" / "link");
  posix_file_system().remove_all(folder.path() / "gone");
  EXPECT_FALSE(fs::exists(folder.path() / "gone"));
  EXPECT_TRUE(fs::exists(folder.path() / "kept" / "a"));
}

TEST(PosixFileSystem, OpensOnlyRegularFiles) {
  EXPECT_EQ(error_number_of([] { posix_file_system().open("/dev/null"); }), EINVAL);
}

TEST(MemoryFileSystem, FillsUpAndSaysSo) {
  MemoryFileSystem files(10);
  auto file = files.create("/a");
  file->write(bytes_of("1234567"));
  EXPECT_EQ(files.free_bytes("/"), 3u);
  EXPECT_EQ(error_number_of([&] { file->write(bytes_of("89abcd")); }), ENOSPC);
  EXPECT_EQ(files.content("/a"), "123456789a");
  files.remove_file("/a");
  EXPECT_EQ(files.free_bytes("/"), 10u);
}

TEST(MemoryFileSystem, APowerLossTakesWhatWasNotSynced) {
  using Unsynced = MemoryFileSystem::Unsynced;
  std::mt19937_64 random(1);
  MemoryFileSystem files;
  files.make_folder("/f");
  files.sync_folder("/");
  auto file = files.create("/f/a");
  file->write(bytes_of("kept"));
  file->sync();
  file->write(bytes_of(" lost"));

  auto entries_lost = files.after_power_loss(Unsynced::kKept, Unsynced::kLost, random);
  EXPECT_THAT(entries_lost->list("/f"), ElementsAre());
  files.sync_folder("/f");
  auto bytes_lost = files.after_power_loss(Unsynced::kLost, Unsynced::kLost, random);
  EXPECT_EQ(bytes_lost->content("/f/a"), "kept");
  for (int i = 0; i < 50; ++i) {
    auto torn = files.after_power_loss(Unsynced::kTorn, Unsynced::kLost, random);
    EXPECT_THAT(torn->content("/f/a"), testing::StartsWith("kept"));
  }

  files.rename("/f/a", "/f/b");
  auto rename_lost = files.after_power_loss(Unsynced::kKept, Unsynced::kLost, random);
  EXPECT_THAT(rename_lost->list("/f"), ElementsAre("a"));
  auto rename_kept = files.after_power_loss(Unsynced::kKept, Unsynced::kKept, random);
  EXPECT_THAT(rename_kept->list("/f"), ElementsAre("b"));
}

TEST(InterceptedFileSystem, FailsTheOperationItIsToldToFail) {
  MemoryFileSystem memory;
  std::vector<std::string> seen;
  InterceptedFileSystem files(memory, [&](const FileOperation& operation) {
    seen.push_back(operation.name + " " + operation.path.string());
    return operation.name == "write" ? ENOSPC : 0;
  });
  EXPECT_EQ(error_number_of([&] { write_file(files, "/a", "123456"); }), ENOSPC);
  EXPECT_EQ(memory.content("/a"), "123");
  EXPECT_THAT(seen, ElementsAre("create /a", "write /a"));
}

}  // namespace
}  // namespace coeus
