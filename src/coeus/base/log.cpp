#include "coeus/base/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>

#include "coeus/base/error.h"

namespace coeus {

namespace {

constexpr const char* kPattern = "[coeus] %Y-%m-%d %H:%M:%S,%e - root - %l - %v";

}  // namespace

void init_log(bool color) {
  auto mode = color ? spdlog::color_mode::automatic : spdlog::color_mode::never;
  auto sink = std::make_shared<spdlog::sinks::stderr_color_sink_mt>(mode);
  auto logger = std::make_shared<spdlog::logger>("root", sink);
  logger->set_pattern(kPattern);
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(logger);
}

void log_to_file(const std::string& path) {
  try {
    auto sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path);
    sink->set_pattern(kPattern);
    spdlog::default_logger()->sinks().push_back(sink);
  } catch (const spdlog::spdlog_ex& error) {
    throw Error(fmt::format("[log_to_file] cannot write {}: {}", path, error.what()));
  }
}

}  // namespace coeus
