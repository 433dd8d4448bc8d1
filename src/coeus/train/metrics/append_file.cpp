#include "coeus/train/metrics/append_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "coeus/base/error.h"
#include "coeus/base/log.h"

namespace coeus {

AppendFile::AppendFile(std::filesystem::path path)
    : path_(std::move(path)),
      file_(open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666)) {
  int cause = errno;
  COEUS_CHECK_CONFIG(file_ >= 0,
                     "[metrics] cannot open {} for writing: {}; set job.dump_folder to a folder "
                     "that you can write",
                     path_.string(), std::generic_category().message(cause));
}

AppendFile::~AppendFile() { close(file_); }

void AppendFile::append(std::string_view record) {
  const off_t length_before = lseek(file_, 0, SEEK_END);
  std::string_view rest = record;
  while (!rest.empty()) {
    ssize_t n = write(file_, rest.data(), rest.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) break;
    rest.remove_prefix(n);
  }
  if (rest.empty()) {
    failing_ = false;
    return;
  }
  const std::string cause = std::generic_category().message(errno);
  bool cut = rest.size() == record.size() || ftruncate(file_, length_before) == 0;
  if (!failing_)
    log_warning(
        "[metrics] cannot write {}: {}; training goes on, and its metrics are lost until "
        "there is room{}",
        path_.string(), cause, cut ? "" : " (the file's last record is torn)");
  failing_ = true;
}

}  // namespace coeus
