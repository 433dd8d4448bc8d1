#include "coeus/train/metrics/log_line.h"

#include <fmt/format.h>

#include <algorithm>

namespace coeus {

namespace {

/// TorchTitan's colours (torchtitan/tools/utils.py); nothing when colours are off.
struct Palette {
  explicit Palette(bool color) : on(color) {}
  const char* operator()(const char* code) const { return on ? code : ""; }
  bool on;
};

constexpr const char* kRed = "\033[31m";
constexpr const char* kGreen = "\033[32m";
constexpr const char* kYellow = "\033[33m";
constexpr const char* kBlue = "\033[34m";
constexpr const char* kMagenta = "\033[35m";
constexpr const char* kCyan = "\033[36m";
constexpr const char* kOrange = "\033[38;2;180;60;0m";
constexpr const char* kTurquoise = "\033[38;2;54;234;195m";
constexpr const char* kReset = "\033[39m";

}  // namespace

std::string with_thousands(double number, int decimals) {
  std::string text = fmt::format("{:.{}f}", number, decimals);
  const size_t first_digit = text.find_first_of("0123456789");
  if (first_digit == std::string::npos) return text;  // nan or inf
  size_t end = std::min(text.find('.'), text.size());
  while (end > first_digit + 3) {
    end -= 3;
    text.insert(end, 1, ',');
  }
  return text;
}

std::string training_line(const LogLine& line, bool color) {
  const Palette paint(color);
  return fmt::format(
      "{}step: {:2}  {}loss: {:>7.4f}  {}grad_norm: {:>7.4f}  {}memory: {:>5.2f}GiB({:.2f}%)  "
      "{}tps: {}  {}tflops: {}  {}mfu: {}{}",
      paint(kRed), line.step, paint(kGreen), line.loss, paint(kOrange), line.grad_norm,
      paint(kTurquoise), line.memory_gib, line.memory_percent, paint(kBlue),
      with_thousands(line.tps), paint(kCyan), with_thousands(line.tflops, 2), paint(kMagenta),
      line.mfu ? fmt::format("{:.2f}%", *line.mfu) : "N/A", paint(kReset));
}

std::string validation_line(const LogLine& line, bool color) {
  const Palette paint(color);
  return fmt::format(
      "{}validate step: {:2}  {}loss: {:>7.4f}  {}memory: {:>5.2f}GiB({:.2f}%)  "
      "{}tps: {}{}",
      paint(kYellow), line.step, paint(kGreen), line.loss, paint(kTurquoise), line.memory_gib,
      line.memory_percent, paint(kBlue), with_thousands(line.tps), paint(kReset));
}

}  // namespace coeus
