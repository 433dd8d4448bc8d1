// What becomes of the lines that a rank prints.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "coeus/comm/listening_socket.h"

namespace coeus {

enum class Stream { kOutput, kErrors };

struct RankOutputOptions {
  std::int64_t rank = 0;
  /// Every line is passed on. Of other ranks only errors are: lines of the log at level ERROR with
  /// those that follow them, and what stands on standard error outside any log.
  bool shown = true;
  /// Lines are passed on after "[rank1]: ". Those of ranks that are not shown always are.
  bool prefixed = false;
  /// Takes a line, with its "\n".
  std::function<void(Stream, const std::string&)> pass_on;
  /// Every line is appended here too; not open for none.
  FileDescriptor file;
};

/// Cuts a rank's two streams into lines and deals with each.
class RankOutput {
 public:
  explicit RankOutput(RankOutputOptions options) : options_(std::move(options)) {}

  /// Takes what was read.
  void add(Stream stream, std::string_view bytes);
  /// The stream is over: a last line without "\n" counts.
  void finish(Stream stream);

  /// What the rank said last of why it ended: the message of its last log line of level ERROR;
  /// failing that, the last line on standard error; "" if neither.
  const std::string& last_error() const { return last_error_.empty() ? last_line_ : last_error_; }

 private:
  void take_line(Stream stream, const std::string& line);
  bool is_error(const std::string& line);

  RankOutputOptions options_;
  std::array<std::string, 2> partial_;
  bool within_error_ = true;  ///< before any log line: a program that cannot start says so bare
  std::string last_error_, last_line_;
};

}  // namespace coeus
