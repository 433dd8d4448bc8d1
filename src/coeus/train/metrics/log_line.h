// TorchTitan's log lines.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace coeus {

/// What the line of a logged step shows.
struct LogLine {
  int64_t step = 0;
  double loss = 0;
  double grad_norm = 0;
  double memory_gib = 0;
  double memory_percent = 0;
  /// Tokens per second and 10^12 FLOP/s of one device.
  double tps = 0;
  double tflops = 0;
  /// Model FLOPs utilisation in percent; "N/A" where the device's peak is not known.
  std::optional<double> mfu;
};

/// `step:  1  loss:  7.6615  grad_norm:  2.8573  memory:  0.35GiB(2.19%)  tps: 2,080  tflops: 0.09
/// mfu: 12.34%` on one line, as TorchTitan of October 2025 prints it; `color` adds its colours.
std::string training_line(const LogLine& line, bool color);

/// `validate step: 10  loss:  5.1234  memory:  0.35GiB(2.19%)  tps: 4,100`. grad_norm, tflops and
/// mfu are not used.
std::string validation_line(const LogLine& line, bool color);

/// `number` rounded to `decimals` (halves to even, as Python rounds), with commas between
/// thousands.
std::string with_thousands(double number, int decimals = 0);

}  // namespace coeus
