#include "coeus/comm/watch.h"

#include <unistd.h>

#include <thread>

#include "coeus/base/log.h"
#include "coeus/comm/watch/loop.h"

namespace coeus {

Watch::Watch(WatchOptions options, CollectiveLog& log) {
  if (options.place.world_size == 1) return;
  COEUS_ASSERT(options.publish && options.lookup);
  if (!options.end)
    options.end = [&log, kept = options](const Verdict& verdict) {
      end_this_rank(verdict, log, kept);
    };
  loop_ = options.place.rank == 0 ? meet_all_ranks(options, log) : meet_rank_zero(options, log);
  loop_->start();
}

Watch::~Watch() = default;

void Watch::finish() {
  if (loop_) loop_->leave({});
}

void Watch::fail(const std::string& message, ExitCode code) {
  if (loop_) loop_->leave({.code = code, .message = message});
}

void end_this_rank(const Verdict& verdict, const CollectiveLog& log, const WatchOptions& options) {
  const int code = static_cast<int>(verdict.code);
  // Whatever blocks below, a full pipe or disk or a lock that another thread holds, not this.
  std::thread([code] {
    std::this_thread::sleep_for(std::chrono::seconds(1));
    ::_exit(code);
  }).detach();
  set_status_line("");
  // In one, so that the launcher finds the message last.
  log_error("{}{}{}", verdict.message, verdict.table.empty() ? "" : "\n", verdict.table);
  if (!options.trace_file.empty()) {
    try {
      log.write(options.trace_file, options.place.rank);
    } catch (const Error& error) {
      log_error("{}", error.what());
    }
  }
  spdlog::default_logger_raw()->flush();
  ::_exit(code);
}

}  // namespace coeus
