#include "coeus/base/log.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <mutex>
#include <string_view>

#include "coeus/base/error.h"

namespace coeus {

namespace {

/// The level as Python's logging names it.
class PythonLevel final : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm&,
              spdlog::memory_buf_t& out) override {
    constexpr std::array<std::string_view, 7> kNames = {"TRACE", "DEBUG",    "INFO", "WARNING",
                                                        "ERROR", "CRITICAL", "OFF"};
    std::string_view name = kNames[message.level];
    out.append(name.data(), name.data() + name.size());
  }
  std::unique_ptr<custom_flag_formatter> clone() const override {
    return std::make_unique<PythonLevel>();
  }
};

std::unique_ptr<spdlog::formatter> make_formatter(const std::string& before = "") {
  auto formatter = std::make_unique<spdlog::pattern_formatter>();
  formatter->add_flag<PythonLevel>('*').set_pattern(
      before + "[coeus] %Y-%m-%d %H:%M:%S,%e - root - %* - %v");
  return formatter;
}

/// A file's lines without the colours that messages may carry for the terminal.
class PlainFormatter final : public spdlog::formatter {
 public:
  explicit PlainFormatter(const std::string& before = "")
      : before_(before), inner_(make_formatter(before)) {}
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& out) override {
    spdlog::memory_buf_t colored;
    inner_->format(message, colored);
    std::string plain = without_colors({colored.data(), colored.size()});
    out.append(plain.data(), plain.data() + plain.size());
  }
  std::unique_ptr<formatter> clone() const override {
    return std::make_unique<PlainFormatter>(before_);
  }

 private:
  const std::string before_;
  std::unique_ptr<spdlog::formatter> inner_;
};

bool environment_has(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0';
}

/// Standard error: a log line takes the status line away, and puts it back below itself, in one
/// write, so that other processes' lines cannot fall between.
class StandardError final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit StandardError(bool keep_colors)
      : keep_colors_(keep_colors),
        terminal_(isatty(STDERR_FILENO) == 1 && environment_has("TERM") &&
                  std::string_view(std::getenv("TERM")) != "dumb") {}

  /// What every line begins with.
  void set_prefix(const std::string& prefix) {
    if (keep_colors_)
      set_formatter(make_formatter(prefix));
    else
      set_formatter(std::make_unique<PlainFormatter>(prefix));
  }

  void set_status(const std::string& text) {
    std::lock_guard lock(mutex_);
    if (!terminal_ || text == status_) return;
    status_ = text;
    write("\r\033[K" + status_);
  }

  int columns() const {
    if (!terminal_) return 0;
    winsize size{};
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
    return 80;
  }

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    std::string out = status_.empty() ? "" : "\r\033[K";
    out.append(line.data(), line.size());
    write(out + status_);
  }
  void flush_() override {}

 private:
  static void write(std::string_view text) {
    while (!text.empty()) {
      ssize_t n = ::write(STDERR_FILENO, text.data(), text.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return;  // nowhere left to say so
      text.remove_prefix(n);
    }
  }

  const bool keep_colors_;
  const bool terminal_;
  std::string status_;
};

std::shared_ptr<StandardError>& standard_error() {
  static std::shared_ptr<StandardError> sink;
  return sink;
}

}  // namespace

std::string without_colors(std::string_view text) {
  // ESC [ digits and semicolons, one letter.
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text.substr(i, 2) != "\033[") {
      plain += text[i];
      continue;
    }
    i = text.find_first_not_of("0123456789;", i + 2);
    if (i == std::string_view::npos) break;
  }
  return plain;
}

void init_log(bool color) {
  const bool keep_colors = color && !environment_has("NO_COLOR") &&
                           (isatty(STDERR_FILENO) == 1 || environment_has("CLICOLOR_FORCE"));
  auto sink = std::make_shared<StandardError>(keep_colors);
  sink->set_prefix("");
  standard_error() = sink;
  spdlog::set_default_logger(std::make_shared<spdlog::logger>("root", sink));
}

void log_to_file(const std::string& path) {
  try {
    auto sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path);
    sink->set_formatter(std::make_unique<PlainFormatter>());
    spdlog::default_logger()->sinks().push_back(sink);
    spdlog::default_logger()->flush_on(spdlog::level::info);
  } catch (const spdlog::spdlog_ex& error) {
    throw Error(fmt::format("[log_to_file] cannot write {}: {}", path, error.what()));
  }
}

void set_log_rank(std::int64_t rank) {
  COEUS_ASSERT(standard_error());
  standard_error()->set_prefix(rank == 0 ? "" : fmt::format("[rank{}]: ", rank));
  standard_error()->set_level(rank == 0 ? spdlog::level::trace : spdlog::level::warn);
}

void set_status_line(const std::string& text) {
  if (standard_error()) standard_error()->set_status(text);
}

int log_terminal_columns() { return standard_error() ? standard_error()->columns() : 0; }

}  // namespace coeus
