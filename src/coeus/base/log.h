// The log: TorchTitan's line prefix, on standard error, above a status line that stays at the
// bottom of a terminal.
#pragma once

#include <spdlog/spdlog.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace coeus {

/// Sets the format `[coeus] 2026-01-31 12:00:00,000 - root - INFO - message` on standard error.
/// Terminal colours in messages are kept on a terminal, or where the environment sets
/// CLICOLOR_FORCE, and dropped when `color` is false or the environment sets NO_COLOR. Call once,
/// from main.
void init_log(bool color = true);

/// Also writes every line, without colours, to `path` from now on. Throws Error if it cannot be
/// opened.
void log_to_file(const std::string& path);

/// In a job of several ranks only rank 0 prints everything. After this call the others print
/// warnings and errors alone on standard error, each line after "[rank3]: "; what log_to_file adds
/// gets every line. Call after init_log.
void set_log_rank(std::int64_t rank);

/// `text` without terminal colours.
std::string without_colors(std::string_view text);

/// Keeps `text` (one line, no colours) as the last line of the terminal, below all log lines, until
/// it is replaced or taken away with "". Nothing is shown when log_terminal_columns() is 0. `text`
/// must be shorter than a row, for a wrapped line cannot be cleared. May be called by any thread.
void set_status_line(const std::string& text);

/// The width of the terminal that standard error is; 0 when it is none, when it cannot redraw a
/// line (TERM unset or "dumb"), or before init_log.
int log_terminal_columns();

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
