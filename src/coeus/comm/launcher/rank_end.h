// How ranks ended, and what that makes of the job.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace coeus {

/// A rank that ended.
struct RankEnd {
  std::int64_t rank = 0;
  int status = 0;               ///< as waitpid gives it
  bool ended_by_us = false;     ///< the launcher had told it to end
  std::string last_error = "";  ///< what it said last

  bool failed() const { return status != 0; }
};

/// "exit code 14 (data)", "signal 9 (SIGKILL)".
std::string to_string(const RankEnd& end);

/// The failure that the others follow from: the first that is not itself the loss of another rank
/// (exit code 10), and that the launcher did not bring about; else the first. `ends`: in their
/// order. Nothing if none failed.
std::optional<RankEnd> first_cause(const std::vector<RankEnd>& ends);

/// What the launcher returns: the cause's exit code. A rank that a signal ended makes it
/// ExitCode::kPeerLost, or, where that signal was asked for (`asked`, 0 if none was), 128 plus its
/// number, as shells have it.
int job_exit_code(const std::optional<RankEnd>& cause, int asked);

}  // namespace coeus
