#include "coeus/comm/launcher/rank_end.h"

#include <fmt/format.h>
#include <string.h>
#include <sys/wait.h>

#include <csignal>

#include "coeus/base/error.h"

namespace coeus {

namespace {

std::string meaning(int exit_code) {
  switch (static_cast<ExitCode>(exit_code)) {
    case ExitCode::kDone:
      return "done";
    case ExitCode::kFailure:
      return "failure";
    case ExitCode::kConfiguration:
      return "configuration";
    case ExitCode::kPeerLost:
      return "another rank is gone";
    case ExitCode::kHang:
      return "a rank hangs";
    case ExitCode::kNonFinite:
      return "a loss or gradient is not finite";
    case ExitCode::kNoUsableCheckpoint:
      return "no usable checkpoint";
    case ExitCode::kData:
      return "data";
    case ExitCode::kOutOfMemory:
      return "out of memory";
  }
  return "not one of coeus's";
}

bool is_peer_lost(const RankEnd& end) {
  return WIFEXITED(end.status) && WEXITSTATUS(end.status) == static_cast<int>(ExitCode::kPeerLost);
}

}  // namespace

std::string to_string(const RankEnd& end) {
  if (WIFEXITED(end.status))
    return fmt::format("exit code {} ({})", WEXITSTATUS(end.status),
                       meaning(WEXITSTATUS(end.status)));
  const int signal = WTERMSIG(end.status);
  const char* const name = sigabbrev_np(signal);
  std::string text = fmt::format("signal {} (SIG{})", signal, name ? name : "?");
  if (signal == SIGKILL && !end.ended_by_us)
    text += ", which somebody sent, or the system because memory ran out";
  return text;
}

std::optional<RankEnd> first_cause(const std::vector<RankEnd>& ends) {
  const RankEnd* cause = nullptr;
  const auto weight = [](const RankEnd& end) {
    return end.ended_by_us ? 0 : is_peer_lost(end) ? 1 : 2;
  };
  for (const RankEnd& end : ends)
    if (end.failed() && (!cause || weight(end) > weight(*cause))) cause = &end;
  return cause ? std::optional(*cause) : std::nullopt;
}

int job_exit_code(const std::optional<RankEnd>& cause, int asked) {
  if (!cause) return 0;
  if (WIFEXITED(cause->status)) return WEXITSTATUS(cause->status);
  if (asked != 0) return 128 + WTERMSIG(cause->status);
  return static_cast<int>(ExitCode::kPeerLost);
}

}  // namespace coeus
