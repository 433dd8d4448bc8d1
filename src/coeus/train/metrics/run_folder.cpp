#include "coeus/train/metrics/run_folder.h"

#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>

#include "coeus/base/error.h"

namespace coeus {

namespace {

namespace fs = std::filesystem;

/// The nearest part of `path` that exists and is no folder; empty if there is none.
fs::path file_in_the_way(const fs::path& path) {
  std::error_code ignored;
  for (fs::path part = path; !part.empty(); part = part.parent_path()) {
    if (fs::exists(part, ignored)) return fs::is_directory(part, ignored) ? fs::path() : part;
    if (part == part.parent_path()) break;
  }
  return {};
}

}  // namespace

void make_run_folder(const fs::path& folder, const char* key) {
  COEUS_CHECK_CONFIG(!folder.empty(), "[{0}] names no folder: set {0}", key);
  const fs::path path = fs::absolute(folder).lexically_normal();
  const fs::path obstacle = file_in_the_way(path);
  COEUS_CHECK_CONFIG(obstacle.empty(),
                     "[{0}] cannot make the folder {1}: {2} is a file; move it away or set {0} to "
                     "another folder",
                     key, path.string(), obstacle.string());
  std::error_code error;
  fs::create_directories(path, error);
  COEUS_CHECK_CONFIG(!error,
                     "[{0}] cannot make the folder {1}: {2}; set {0} to a folder that you can "
                     "write",
                     key, path.string(), error.message());
  // access() says yes to root even on a read-only file system: only writing tells.
  std::string probe = (path / ".coeus_probe_XXXXXX").string();
  int file = mkstemp(probe.data());
  int cause = errno;
  COEUS_CHECK_CONFIG(file >= 0,
                     "[{0}] cannot write into the folder {1}: {2}; set {0} to a folder that you "
                     "can write",
                     key, path.string(), std::generic_category().message(cause));
  bool written = write(file, "x", 1) == 1;
  cause = errno;
  close(file);
  unlink(probe.c_str());
  COEUS_CHECK_CONFIG(written, "[{}] cannot write into the folder {}: {}; make room there", key,
                     path.string(), std::generic_category().message(cause));
}

}  // namespace coeus
