// The log: TorchTitan's line prefix, on standard error.
#pragma once

#include <spdlog/spdlog.h>

#include <string>

namespace coeus {

/// Sets the format `[coeus] 2026-01-31 12:00:00,000 - root - INFO - message` on standard error.
/// `color` false drops terminal colours. Call once, from main.
void init_log(bool color = true);

/// Also writes every line to `path` from now on. Throws Error if it cannot be opened.
void log_to_file(const std::string& path);

/// Writes one line at the given level: log_info("loaded {} tensors", n).
template <class... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
  spdlog::default_logger_raw()->info(fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void log_warning(fmt::format_string<Args...> format, Args&&... args) {
  spdlog::default_logger_raw()->warn(fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void log_error(fmt::format_string<Args...> format, Args&&... args) {
  spdlog::default_logger_raw()->error(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace coeus
