#include "coeus/comm/launcher/rank_output.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "coeus/base/log.h"

namespace coeus {

namespace {

/// A line longer than this is passed on in pieces.
constexpr size_t kLongestLine = 1 << 20;

struct LogLine {
  bool error = false;
  std::string message;
};

/// `line` as one of this program's log ("… - root - ERROR - message") or of LibTorch's
/// ("[E1122 12:00:00 file.cpp:1] message"); nothing if it is neither.
std::optional<LogLine> as_log_line(const std::string& line) {
  constexpr std::string_view kLogger = " - root - ";
  if (line.find("[coeus] ") <= sizeof "[rank1234567]: " && line.find(kLogger) != line.npos) {
    const std::string rest = line.substr(line.find(kLogger) + kLogger.size());
    const size_t dash = rest.find(" - ");
    if (dash == rest.npos) return std::nullopt;
    const std::string level = rest.substr(0, dash);
    return LogLine{level == "ERROR" || level == "CRITICAL", rest.substr(dash + 3)};
  }
  if (line.size() > 2 && line[0] == '[' &&
      std::string_view("IWEF").find(line[1]) != std::string_view::npos && line[2] >= '0' &&
      line[2] <= '9' && line.find(']') != line.npos)
    return LogLine{line[1] == 'E' || line[1] == 'F', line.substr(line.find(']') + 1)};
  return std::nullopt;
}

void append_to(int file, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(file, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return;  // a full disk must not end the job
    text.remove_prefix(n);
  }
}

}  // namespace

void RankOutput::add(Stream stream, std::string_view bytes) {
  std::string& partial = partial_[static_cast<size_t>(stream)];
  while (!bytes.empty()) {
    const size_t end = bytes.find('\n');
    partial += bytes.substr(0, end);
    if (end == bytes.npos && partial.size() < kLongestLine) return;
    bytes.remove_prefix(end == bytes.npos ? bytes.size() : end + 1);
    take_line(stream, std::exchange(partial, ""));
  }
}

void RankOutput::finish(Stream stream) {
  std::string& partial = partial_[static_cast<size_t>(stream)];
  if (!partial.empty()) take_line(stream, std::exchange(partial, ""));
}

bool RankOutput::is_error(const std::string& line) {
  if (const std::optional<LogLine> log_line = as_log_line(line)) {
    within_error_ = log_line->error;
    if (log_line->error) last_error_ = log_line->message;
  }
  return within_error_;
}

void RankOutput::take_line(Stream stream, const std::string& line) {
  const std::string plain = without_colors(line);
  if (options_.file.is_open()) append_to(options_.file.number(), plain + "\n");
  bool passed = options_.shown;
  if (stream == Stream::kErrors) {
    passed = is_error(plain) || passed;
    if (!plain.empty()) last_line_ = plain;
  }
  if (!passed) return;
  const std::string prefix = fmt::format("[rank{}]: ", options_.rank);
  const bool prefixed = (options_.prefixed || !options_.shown) && !plain.starts_with(prefix);
  options_.pass_on(stream, (prefixed ? prefix : "") + line + "\n");
}

}  // namespace coeus
