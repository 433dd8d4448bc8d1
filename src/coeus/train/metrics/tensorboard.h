// TensorBoard event files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "coeus/train/metrics/append_file.h"

namespace coeus {

/// Named numbers of one step, in order.
using Scalars = std::vector<std::pair<std::string, double>>;

/// One record of TensorFlow's TFRecord format: length, its checksum, `data`, its checksum; the
/// checksums are CRC-32C, rotated and offset ("masked").
std::string tfrecord(std::string_view data);

/// CRC-32C (Castagnoli) of `data`.
uint32_t crc32c(std::string_view data);

/// The protobuf message tensorflow.Event that opens every event file (file_version
/// "brain.Event:2"), at `wall_time` in Unix seconds.
std::string version_event(double wall_time);

/// The protobuf message tensorflow.Event with a Summary of `scalars` (simple_value: float32).
std::string scalars_event(const Scalars& scalars, int64_t step, double wall_time);

/// Writes events.out.tfevents.<time>.<host>.<pid>.<n> as TensorBoard's and PyTorch's writers name
/// and fill it. Every write is seen by readers at once.
class EventWriter {
 public:
  /// Makes `folder` and opens a new file in it. Throws ConfigError if it cannot.
  EventWriter(const std::filesystem::path& folder, double wall_time);

  void write(const Scalars& scalars, int64_t step, double wall_time) {
    file_.append(tfrecord(scalars_event(scalars, step, wall_time)));
  }
  const std::filesystem::path& path() const { return file_.path(); }

 private:
  AppendFile file_;
};

}  // namespace coeus
