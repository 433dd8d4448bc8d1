#include "coeus/train/metrics/json_lines.h"

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <system_error>

#include "coeus/base/error.h"
#include "coeus/base/log.h"
#include "coeus/base/shortest_number.h"

namespace coeus {

namespace {

namespace fs = std::filesystem;

/// Where the file's last line starts, if that line has no end; the file's size otherwise.
std::uintmax_t start_of_unfinished_line(std::ifstream& file, std::uintmax_t size) {
  for (std::uintmax_t start = size; start > 0; --start) {
    file.seekg(static_cast<std::streamoff>(start - 1));
    if (file.get() == '\n') return start;
  }
  return 0;
}

/// Ends an interrupted run's last line: completes it when only its newline is missing, else drops
/// it.
void finish_last_line(const fs::path& path) {
  std::error_code missing;
  const std::uintmax_t size = fs::file_size(path, missing);
  if (missing || size == 0) return;
  std::ifstream file(path, std::ios::binary);
  const std::uintmax_t start = start_of_unfinished_line(file, size);
  if (start == size) return;
  std::string line(size - start, '\0');
  file.seekg(static_cast<std::streamoff>(start));
  file.read(line.data(), static_cast<std::streamsize>(line.size()));
  if (nlohmann::json::accept(line)) {
    std::ofstream(path, std::ios::binary | std::ios::app) << '\n';
  } else {
    log_warning("[metrics] {} ends in half a line, which is dropped: {}", path.string(), line);
    fs::resize_file(path, start);
  }
}

void move_older_file_away(const fs::path& path) {
  std::error_code missing;
  const std::uintmax_t size = fs::file_size(path, missing);
  if (missing || size == 0) return;
  fs::path kept;
  for (int n = 1; kept.empty() || fs::exists(kept); ++n)
    kept = path.parent_path() /
           fmt::format("{}.{}{}", path.stem().string(), n, path.extension().string());
  std::error_code error;
  fs::rename(path, kept, error);
  COEUS_CHECK_CONFIG(!error,
                     "[metrics] cannot move an older run's {} to {}: {}; set "
                     "job.dump_folder to another folder",
                     path.string(), kept.string(), error.message());
  log_info("{} is of an older run: moved to {}", path.string(), kept.string());
}

const fs::path& prepared(const fs::path& path, bool append) {
  if (append)
    finish_last_line(path);
  else
    move_older_file_away(path);
  return path;
}

template <class Number>
std::string json_number(Number value) {
  return std::isfinite(value) ? shortest_number(value) : "null";
}

}  // namespace

void JsonObject::add(std::string_view key, int64_t value) { add_text(key, std::to_string(value)); }
void JsonObject::add(std::string_view key, double value) { add_text(key, json_number(value)); }
void JsonObject::add(std::string_view key, float value) { add_text(key, json_number(value)); }
void JsonObject::add_null(std::string_view key) { add_text(key, "null"); }

void JsonObject::add_text(std::string_view key, std::string_view value) {
  if (!members_.empty()) members_ += ", ";
  members_ += nlohmann::json(key).dump();
  members_ += ": ";
  members_ += value;
}

MetricsFile::MetricsFile(const fs::path& path, bool append) : file_(prepared(path, append)) {}

}  // namespace coeus
