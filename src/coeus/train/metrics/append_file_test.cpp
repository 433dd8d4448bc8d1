#include "coeus/train/metrics/append_file.h"

#include <gmock/gmock.h>
#include <signal.h>
#include <spdlog/sinks/ostream_sink.h>
#include <sys/resource.h>

#include <sstream>

#include "coeus/base/log.h"
#include "coeus/base/temporary_folder.h"

namespace coeus {
namespace {

using ::testing::HasSubstr;

/// What is logged during its life.
class CapturedLog {
 public:
  CapturedLog() : before_(spdlog::default_logger()) {
    auto sink = std::make_shared<spdlog::sinks::ostream_sink_mt>(text_);
    sink->set_pattern("%v");
    spdlog::set_default_logger(std::make_shared<spdlog::logger>("test", sink));
  }
  ~CapturedLog() { spdlog::set_default_logger(before_); }
  std::string text() const { return text_.str(); }

 private:
  std::shared_ptr<spdlog::logger> before_;
  std::ostringstream text_;
};

/// Files of this process may not grow beyond `bytes`: as if the disk were full.
class SmallDisk {
 public:
  explicit SmallDisk(rlim_t bytes) : old_handler_(signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    rlimit limit{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~SmallDisk() {
    setrlimit(RLIMIT_FSIZE, &before_);
    signal(SIGXFSZ, old_handler_);
  }

 private:
  sighandler_t old_handler_;
  rlimit before_;
};

TEST(AppendFile, CutsARecordOffThatDoesNotFitAndSaysSoOnce) {
  TemporaryFolder folder;
  CapturedLog log;
  AppendFile file(folder / "records");
  file.append("first\n");
  {
    SmallDisk disk(10);
    file.append("second\n");
    file.append("third\n");
  }
  EXPECT_EQ(file_text(folder / "records"), "first\n");
  EXPECT_THAT(log.text(), HasSubstr("cannot write " + (folder / "records").string()));
  EXPECT_EQ(std::ranges::count(log.text(), '\n'), 1);
  file.append("fourth\n");
  EXPECT_EQ(file_text(folder / "records"), "first\nfourth\n");
}

TEST(AppendFile, WarnsAboutAFullDevice) {
  CapturedLog log;
  AppendFile("/dev/full").append("record");
  EXPECT_THAT(log.text(), HasSubstr("cannot write /dev/full: No space left on device"));
}

}  // namespace
}  // namespace coeus
