// metrics.jsonl: one JSON object a line.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "coeus/train/metrics/append_file.h"

namespace coeus {

/// One JSON object, its members in the order they are added. A number is the shortest text that
/// reads back the same (a float's as a float); one that is not finite is null, for JSON has no NaN.
class JsonObject {
 public:
  void add(std::string_view key, int64_t value);
  void add(std::string_view key, double value);
  void add(std::string_view key, float value);
  void add_null(std::string_view key);
  std::string text() const { return "{" + members_ + "}"; }

 private:
  void add_text(std::string_view key, std::string_view value);
  std::string members_;
};

/// The metrics file of a run.
class MetricsFile {
 public:
  /// Opens `path`. A resumed run (`append`) adds to what is there; a last line that an interruption
  /// left without its end is cut off first. A new run moves an older run's file to
  /// <stem>.<number><extension> and starts an empty one. Throws ConfigError if it cannot.
  MetricsFile(const std::filesystem::path& path, bool append);

  /// Appends one line, seen by readers at once.
  void write(const JsonObject& line) { file_.append(line.text() + "\n"); }

 private:
  AppendFile file_;
};

}  // namespace coeus
